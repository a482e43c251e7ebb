// Mailbox: our own strict RFC 5321 address grammar and the one canonical form that policy, look-up and RCPT share.
import { domainToASCII, domainToUnicode } from "node:url";

/**
 * One mailbox. `address` is what is shown, stored and sent upstream: the local part as given, `@`, the domain as lower-case
 * A-labels. `key` is for comparing: the same with ASCII letters of the local part in lower case (RFC 5321 lets local parts
 * differ by case, no directory or key server does).
 */
export type Mailbox = {
  readonly address: string;
  readonly key: string;
  readonly local: string;
  readonly domain: string;
};

/** Why an address is refused: `reply` is the enhanced status and text for an SMTP client. */
export type AddressFault = { readonly code: 501 | 550 | 553; readonly status: string; readonly text: string };

export type ParsedMailbox = { readonly mailbox: Mailbox } | { readonly fault: AddressFault };

const ASCII_DOT_STRING = /^[A-Za-z0-9#$&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9#$&'*+/=?^_`{|}~-]+)*$/;
// atext of RFC 6531 3.3: any code point beyond ASCII, but none that is invisible, a control or a separator
const UTF8_DOT_STRING =
  /^(?:[A-Za-z0-9#$&'*+/=?^_`{|}~-]|[^\p{ASCII}])+(?:\.(?:[A-Za-z0-9#$&'*+/=?^_`{|}~-]|[^\p{ASCII}])+)*$/u;

const PRINTABLE_ASCII = /^[!-~]+$/;
/** A host name that means itself: no A-label to be checked, nothing that could be read as an IPv4 address. */
const PLAIN_DOMAIN = /^(?!.*xn--)(?:[a-z0-9-]+\.)*[a-z][a-z0-9-]*$/i;
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Z}]/u;
const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

const syntax = (text: string): ParsedMailbox => ({ fault: { code: 501, status: "5.1.3", text } });
const refused = (text: string): ParsedMailbox => ({ fault: { code: 550, status: "5.7.1", text } });

/**
 * Parses an address without angle brackets. Refused on purpose: quoted local parts (two spellings of one mailbox), source
 * routes, percent and bang paths, address literals, numeric top-level domains, addresses without a domain.
 * RFC 5321 4.1.2, RFC 6531 3.3.
 */
export function parseMailbox(text: string): ParsedMailbox {
  if (text.startsWith("@")) return syntax("source routes are not accepted");
  const at = text.lastIndexOf("@");
  if (at < 0) return refused("an address needs a domain");
  const local = text.slice(0, at);
  if (local.startsWith('"'))
    return { fault: { code: 553, status: "5.1.3", text: "quoted local parts are not accepted" } };
  if (Buffer.byteLength(local) > 64) return syntax("the local part is longer than 64 octets");
  const isAscii = PRINTABLE_ASCII.test(text);
  if (!isAscii && UNSAFE.test(text)) return syntax("the address contains a character that is not allowed");
  if (/^[^@\s]+[%!][^@\s]*$/.test(local)) return refused("source-routed addresses are not relayed");
  if (!ASCII_DOT_STRING.test(local) && !UTF8_DOT_STRING.test(local)) return syntax("the local part is malformed");
  if (!isAscii && local.normalize("NFC") !== local) return syntax("the local part is not in Unicode normal form C");
  const domain = canonicalDomain(text.slice(at + 1));
  if (typeof domain !== "string") return domain;
  const address = `${local}@${domain}`;
  if (Buffer.byteLength(address) > 254) return syntax("the address is longer than 254 octets");
  return { mailbox: { address, key: asciiLowerCase(address), local, domain } };
}

/** The mailbox of an address that is known to be well-formed; throws when it is not. */
export function mailbox(text: string): Mailbox {
  const parsed = parseMailbox(text);
  if ("fault" in parsed) throw new Error(`${JSON.stringify(text)} is not an address: ${parsed.fault.text}`);
  return parsed.mailbox;
}

/** Those of the addresses that are well-formed, as mailboxes. */
export function mailboxesIn(addresses: readonly string[]): Mailbox[] {
  return addresses.flatMap((address) => {
    const parsed = parseMailbox(address);
    return "mailbox" in parsed ? [parsed.mailbox] : [];
  });
}

/** Whether one of the addresses, as a key names them, is this mailbox. */
export function isAmong({ key }: Mailbox, addresses: readonly string[]): boolean {
  return addresses.some((address) => {
    const parsed = parseMailbox(address);
    return "mailbox" in parsed && parsed.mailbox.key === key;
  });
}

/** Whether this address needs SMTPUTF8 on its way (RFC 6531): its domain is always ASCII, its local part may not be. */
export function needsSmtpUtf8(mailbox: Mailbox): boolean {
  return !/^\p{ASCII}*$/u.test(mailbox.local);
}

/**
 * The address in the ways in which others may hold it, the likeliest first: an internationalised domain is kept as people write it, or
 * in A-labels.
 */
export function spellingsOf({ address, local, domain }: Mailbox): readonly string[] {
  // "" when it cannot be written otherwise
  const unicode = domainToUnicode(domain);
  return unicode === domain || unicode === "" ? [address] : [`${local}@${unicode}`, address];
}

/** `ann+jira@example.com` → `ann@example.com`; undefined when there is no tag to strip. */
export function withoutTag(mailbox: Mailbox): Mailbox | undefined {
  const plus = mailbox.local.indexOf("+");
  if (plus <= 0) return undefined;
  const local = mailbox.local.slice(0, plus);
  const address = `${local}@${mailbox.domain}`;
  return { address, key: asciiLowerCase(address), local, domain: mailbox.domain };
}

function canonicalDomain(text: string): string | ParsedMailbox {
  if (text.startsWith("[")) return refused("address literals are not relayed");
  if (/[\p{ASCII}]/u.test(text) && /[^A-Za-z0-9.\-\P{ASCII}]/u.test(text)) return syntax("the domain is malformed");
  const ascii = PLAIN_DOMAIN.test(text) ? text.toLowerCase() : domainToASCII(text);
  const labels = ascii.split(".");
  if (ascii === "" || ascii.length > 253 || !labels.every((label) => LABEL.test(label)))
    return syntax("the domain is malformed");
  if (/^(?:\d+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? "")) return refused("numeric domains are not relayed");
  return ascii;
}

function asciiLowerCase(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}
