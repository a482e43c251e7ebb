// Distinguished names: as text for people (RFC 4514), and the addresses in them.
import { contentOf, DerSequence, encodingOf, oidOf, TAG, type Element } from "./der.ts";

const EMAIL_ADDRESS = "1.2.840.113549.1.9.1";
const SHORT_NAMES: ReadonlyMap<string, string> = new Map([
  ["2.5.4.3", "CN"],
  ["2.5.4.4", "SN"],
  ["2.5.4.5", "serialNumber"],
  ["2.5.4.6", "C"],
  ["2.5.4.7", "L"],
  ["2.5.4.8", "ST"],
  ["2.5.4.9", "STREET"],
  ["2.5.4.10", "O"],
  ["2.5.4.11", "OU"],
  ["2.5.4.12", "title"],
  ["2.5.4.42", "GN"],
  ["0.9.2342.19200300.100.1.1", "UID"],
  ["0.9.2342.19200300.100.1.25", "DC"],
  [EMAIL_ADDRESS, "emailAddress"],
]);

export type DistinguishedName = {
  /** For people: most specific first, everything that could fool a reader of a log line escaped. */
  readonly text: string;
  /** Values of emailAddress attributes, as written. */
  readonly emailAddresses: readonly string[];
};

/** Reads a Name (RFC 5280 4.1.2.4). Throws Malformed. */
export function readDistinguishedName(name: Element): DistinguishedName {
  const emailAddresses: string[] = [];
  const rdns = readRdns(name, (type, value) => {
    const text = stringOf(value);
    if (type === EMAIL_ADDRESS && text !== undefined) emailAddresses.push(text);
    return `${SHORT_NAMES.get(type) ?? type}=${text === undefined ? octetsText(value) : escaped(text)}`;
  });
  const text = rdns
    .map((parts) => parts.join("+"))
    .reverse()
    .join(",");
  return { text, emailAddresses };
}

/** The relative names of a Name in its order, each of one or more attributes, as `read` gives them. Throws Malformed. */
export function readRdns(name: Element, read: (type: string, value: Element) => string): string[][] {
  const rdns: string[][] = [];
  const sequence = new DerSequence(name, "distinguished name");
  while (sequence.hasMore()) {
    const parts: string[] = [];
    const set = new DerSequence(sequence.take(TAG.set), "relative distinguished name");
    while (set.hasMore()) {
      const attribute = new DerSequence(set.take(TAG.sequence), "attribute of a distinguished name");
      const type = oidOf(attribute.take(TAG.oid));
      const value = attribute.takeAny();
      attribute.close();
      parts.push(read(type, value));
    }
    rdns.push(parts);
  }
  return rdns;
}

/** RFC 4514 2.4: a value that is no text, as its encoding. */
export function octetsText(value: Element): string {
  return `#${Buffer.from(encodingOf(value)).toString("hex")}`;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const utf16 = new TextDecoder("utf-16be", { fatal: true, ignoreBOM: true });

/** The text of any of ASN.1's string types; undefined when it is none, or broken. */
export function stringOf(element: Element): string | undefined {
  const content = contentOf(element);
  try {
    switch (element.tag) {
      case 0x0c: // UTF8String
        return asciiText(content) ?? utf8.decode(content);
      case 0x12: // NumericString
      case 0x13: // PrintableString
      case 0x16: // IA5String
      case 0x1a: // VisibleString
        return asciiText(content);
      case 0x14: // TeletexString: what is in use is Latin-1, not T.61
        return Buffer.from(content).toString("latin1");
      case 0x1e: // BMPString
        return utf16.decode(content);
      default:
        return undefined;
    }
  } catch {
    return undefined;
  }
}

/** Undefined when an octet is not ASCII. */
export function asciiText(content: Uint8Array): string | undefined {
  for (const octet of content) if (octet >= 0x80) return undefined;
  return Buffer.from(content.buffer, content.byteOffset, content.length).toString("latin1");
}

function escaped(value: string): string {
  if (/^[\w@.()'-]+(?: [\w@.()'-]+)*$/.test(value)) return value;
  return value
    .replace(/[,+"\\<>;=]/g, "\\$&")
    .replace(/^[ #]| $/g, "\\$&")
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) =>
      Buffer.from(character).toString("hex").replace(/../g, "\\$&"),
    );
}
