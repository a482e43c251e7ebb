// Name constraints: which names the certificates below a CA may have, and how names are compared (RFC 5280 4.2.1.10, 7).
import { parseMailbox } from "../mail/address.ts";
import { GENERAL_NAME, SMTP_UTF8_MAILBOX } from "./certificate-extensions.ts";
import type { Certificate } from "./certificate.ts";
import { contentOf, DerSequence, encodingOf, Malformed, oidOf, readDerElement, TAG, type Element } from "./der.ts";
import { asciiText, octetsText, readDistinguishedName, readRdns, stringOf } from "./distinguished-name.ts";

/** A name as certificates and constraints have it. `shown` is for people; `other` forms are told apart and never compared. */
type Name =
  | { readonly form: "mailbox" | "host"; readonly text: string; readonly shown: string }
  | { readonly form: "directory"; readonly rdns: readonly string[]; readonly shown: string }
  | { readonly form: string & {}; readonly shown: string };

export type NameConstraints = { readonly permitted: readonly Name[]; readonly excluded: readonly Name[] };

/** So many comparisons of one certificate's names with one CA's constraints; OpenSSL has the same bound. */
const MAX_COMPARISONS = 1 << 20;
const MAX_SHOWN = 200;

/**
 * The RDNs of a Name (DER) as they are compared: white space and ASCII case do not count, nor which string type was used
 * (RFC 5280 7.1 without Unicode normalization, as OpenSSL does). Throws Malformed.
 */
export function comparableRdns(name: Uint8Array): readonly string[] {
  const rdns = readRdns(readDerElement(name), (type, value) => `${type}=${comparableValue(value)}`);
  return rdns.map((parts) => parts.sort().join("+"));
}

/** A Name (DER) as one text, equal for names that are the same (see comparableRdns). Throws Malformed. */
export function comparableName(name: Uint8Array): string {
  return comparableRdns(name).join(",");
}

function comparableValue(value: Element): string {
  const text = stringOf(value);
  if (text === undefined) return octetsText(value);
  const dense = text.replace(/[\t-\r ]+/g, " ").replace(/^ | $/g, "");
  return JSON.stringify(lowerCase(dense));
}

/** Reads the value of a nameConstraints extension. Throws Malformed, also for what is not understood and must be. */
export function readNameConstraints(value: Uint8Array): NameConstraints {
  const sequence = new DerSequence(onlySequence(value), "nameConstraints");
  const permitted = sequence.takeIf(0xa0);
  const excluded = sequence.takeIf(0xa1);
  sequence.close();
  return { permitted: subtrees(permitted), excluded: subtrees(excluded) };
}

function onlySequence(value: Uint8Array): Element {
  const element = readDerElement(value);
  if (element.tag !== TAG.sequence || element.end !== value.length) throw new Malformed("not one SEQUENCE");
  return element;
}

function subtrees(list: Element | undefined): Name[] {
  const bases: Name[] = [];
  if (list === undefined) return bases;
  const sequence = new DerSequence(list, "nameConstraints");
  while (sequence.hasMore()) {
    const subtree = new DerSequence(sequence.take(TAG.sequence), "subtree of nameConstraints");
    bases.push(constraintBase(subtree.takeAny()));
    // never other than 0 and absent (RFC 5280 4.2.1.10)
    const minimum = subtree.takeIf(0x80);
    const isZero = minimum === undefined || contentOf(minimum).every((octet) => octet === 0);
    if (!isZero || subtree.hasMore()) throw new Malformed("a subtree has a minimum or maximum");
  }
  return bases;
}

function constraintBase(base: Element): Name {
  const isMailbox = base.tag === GENERAL_NAME.rfc822Name;
  if (!isMailbox && base.tag !== GENERAL_NAME.dnsName) {
    const name = otherForm(base);
    // such subtrees are to be written as rfc822Name (RFC 9598 6)
    if (name.form === `otherName ${SMTP_UTF8_MAILBOX}`) throw new Malformed("a subtree is a SmtpUTF8Mailbox");
    return name;
  }
  const text = asciiText(contentOf(base)) ?? "?";
  const at = isMailbox ? text.lastIndexOf("@") : -1;
  const host = lowerCase(text.slice(at + 1));
  if (!/^\.?(?:[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)?$/.test(host)) throw new Malformed("a subtree is no name of a host");
  const name = `${text.slice(0, at + 1)}${host}`;
  return { form: isMailbox ? "mailbox" : "host", text: name.replace(/^@/, ""), shown: name };
}

/**
 * All names of a certificate that constraints may be about: its subject, the addresses in it and its subjectAltName. A
 * SmtpUTF8Mailbox is a mailbox (RFC 9598 6). A mailbox whose `text` is empty cannot be understood. Throws Malformed.
 */
export function namesOf(certificate: Certificate): readonly Name[] {
  const names: Name[] = [];
  const subject = readDerElement(certificate.subjectDer);
  if (subject.contentEnd > subject.contentStart) names.push(directoryName(subject));
  names.push(...readDistinguishedName(subject).emailAddresses.map(mailboxName));
  if (certificate.subjectAltName === undefined) return names;
  const sequence = new DerSequence(onlySequence(certificate.subjectAltName), "subjectAltName");
  while (sequence.hasMore()) names.push(alternativeName(sequence.takeAny()));
  return names;
}

function alternativeName(name: Element): Name {
  if (name.tag === GENERAL_NAME.rfc822Name) return mailboxName(asciiText(contentOf(name)) ?? "");
  if (name.tag === GENERAL_NAME.dnsName) {
    const text = asciiText(contentOf(name)) ?? "";
    return { form: "host", text: lowerCase(text).replace(/\.$/, ""), shown: quoted(text) };
  }
  if (name.tag === GENERAL_NAME.otherName) {
    const sequence = new DerSequence(name, "otherName");
    if (oidOf(sequence.take(TAG.oid)) === SMTP_UTF8_MAILBOX) {
      const explicit = new DerSequence(sequence.take(0xa0), "SmtpUTF8Mailbox");
      return mailboxName(stringOf(explicit.takeAny()) ?? "");
    }
  }
  return otherForm(name);
}

function otherForm(name: Element): Name {
  if (name.tag === GENERAL_NAME.directoryName) {
    const explicit = new DerSequence(name, "directoryName");
    return directoryName(explicit.take(TAG.sequence));
  }
  if (name.tag !== GENERAL_NAME.otherName)
    return { form: `form ${name.tag & 0x1f}`, shown: `a name of form ${name.tag & 0x1f}` };
  const form = `otherName ${oidOf(new DerSequence(name, "otherName").take(TAG.oid))}`;
  return { form, shown: `an ${form}` };
}

function directoryName(name: Element): Name {
  return {
    form: "directory",
    rdns: comparableRdns(encodingOf(name)),
    shown: readDistinguishedName(name).text.slice(0, MAX_SHOWN),
  };
}

function mailboxName(text: string): Name {
  const parsed = parseMailbox(text);
  const understood = "mailbox" in parsed ? parsed.mailbox.address : "";
  return { form: "mailbox", text: understood, shown: understood === "" ? quoted(text) : understood };
}

/** The first of `names` that the constraints do not allow, for people; undefined when they allow them all. */
export function forbiddenName({ permitted, excluded }: NameConstraints, names: readonly Name[]): string | undefined {
  if ((permitted.length + excluded.length) * names.length > MAX_COMPARISONS) return "so many names";
  const broken = names.find((name) => {
    if (excluded.some((base) => base.form === name.form && isWithin(name, base) !== false)) return true;
    const sameForm = permitted.filter((base) => base.form === name.form);
    return sameForm.length > 0 && !sameForm.some((base) => isWithin(name, base) === true);
  });
  return broken?.shown;
}

/** Undefined: not known, which neither permits nor lets pass. Both are of one form. */
function isWithin(name: Name, base: Name): boolean | undefined {
  if ("rdns" in name && "rdns" in base) return base.rdns.every((rdn, index) => name.rdns[index] === rdn);
  if (!("text" in name && "text" in base) || name.text === "") return undefined;
  if (name.form === "host") return base.text === "" || isHostWithin(name.text, base.text, true);
  // not defined for mailboxes (RFC 5280): excludes all, permits none
  if (base.text === "" || base.text === ".") return undefined;
  const at = name.text.lastIndexOf("@");
  const host = name.text.slice(at + 1);
  const baseAt = base.text.lastIndexOf("@");
  if (baseAt < 0) return isHostWithin(host, base.text, false);
  if (host !== base.text.slice(baseAt + 1)) return false;
  const [local, baseLocal] = [name.text.slice(0, at), base.text.slice(0, baseAt)];
  // local parts may differ by case (RFC 5280 7.5), yet no mail system lets them: that permits nothing and excludes
  return local === baseLocal || (lowerCase(local) === lowerCase(baseLocal) ? undefined : false);
}

/** `.example.com` stands for every host below; a host without the dot for itself and, in a dNSName, for those below. */
function isHostWithin(host: string, base: string, withBelow: boolean): boolean {
  if (base.startsWith(".")) return host.endsWith(base);
  return host === base || (withBelow && host.endsWith(`.${base}`));
}

function lowerCase(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

function quoted(text: string): string {
  return JSON.stringify(text.slice(0, MAX_SHOWN));
}
