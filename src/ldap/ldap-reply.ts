// LDAP reply: one LDAPMessage of a server, read strictly (RFC 4511 4.1, 5.1); ldapts reads some malformed ones for ever.

/** Of one attribute, as the server spells its name, options (`;binary`) included. */
export type LdapAttribute = { readonly name: string; readonly values: readonly Buffer[] };

/** LDAPResult (RFC 4511 4.1.9). */
export type LdapResult = { readonly code: number; readonly text: string; readonly referral: readonly string[] };

/** `elements`: how many the message is made of. */
export type LdapReply = { readonly elements: number } & LdapOperation;

type LdapOperation =
  | { readonly kind: "entry"; readonly id: number; readonly dn: string; readonly attributes: readonly LdapAttribute[] }
  | { readonly kind: "reference"; readonly id: number; readonly uris: readonly string[] }
  | ({ readonly kind: "bound" | "searched" | "extended"; readonly id: number } & LdapResult);

/** The octets are no LDAP. */
export class NotLdap extends Error {}

/** It may be LDAP, and is not read. */
export class TooManyElements extends NotLdap {}

/** So many elements, whatever they are, may one message have: an empty one takes two octets and far more memory. */
const MAX_ELEMENTS = 20_000;

const TAG = { boolean: 0x01, integer: 0x02, octetString: 0x04, enumerated: 0x0a, sequence: 0x30, set: 0x31 } as const;
const BOUND = 0x61;
const ENTRY = 0x64;
const SEARCHED = 0x65;
const REFERENCE = 0x73;
const EXTENDED = 0x78;
const REFERRAL = 0xa3;

/** Octets that one message has, header included; undefined when more is needed to know. Throws NotLdap. */
export function messageLength(bytes: Buffer): number | undefined {
  if (bytes.length === 0) return undefined;
  if (bytes[0] !== TAG.sequence) throw new NotLdap("a message that does not begin as one");
  const header = readHeader(bytes, 0);
  return header === undefined ? undefined : header.start + header.length;
}

/** Reads one whole message. Byte values share its memory. Throws NotLdap. */
export function readReply(message: Buffer): LdapReply {
  const budget = { left: MAX_ELEMENTS };
  const operation = operationIn(message, budget);
  return { ...operation, elements: MAX_ELEMENTS - budget.left };
}

function operationIn(message: Buffer, budget: Budget): LdapOperation {
  const [outer, ...more] = elementsOf(message, budget);
  if (outer?.tag !== TAG.sequence || more.length > 0) throw new NotLdap("a message that is not one SEQUENCE");
  const [messageId, operation] = elementsOf(outer.content, budget);
  if (messageId === undefined || operation === undefined) throw new NotLdap("a message without an operation");
  const id = integerOf(messageId, TAG.integer);
  const parts = elementsOf(operation.content, budget);
  switch (operation.tag) {
    case ENTRY: {
      const [name, list] = parts;
      const attributes = elementsOf(contentOf(list, TAG.sequence), budget).map((one) => attributeOf(one, budget));
      return { kind: "entry", id, dn: contentOf(name, TAG.octetString).toString(), attributes };
    }
    case REFERENCE:
      return { kind: "reference", id, uris: parts.map((uri) => contentOf(uri, TAG.octetString).toString()) };
    case BOUND:
      return { kind: "bound", id, ...resultOf(parts, budget) };
    case SEARCHED:
      return { kind: "searched", id, ...resultOf(parts, budget) };
    case EXTENDED:
      return { kind: "extended", id, ...resultOf(parts, budget) };
    default:
      throw new NotLdap(`an operation 0x${operation.tag.toString(16)}`);
  }
}

function attributeOf(element: Element, budget: Budget): LdapAttribute {
  const [name, values] = elementsOf(contentOf(element, TAG.sequence), budget);
  return {
    name: contentOf(name, TAG.octetString).toString(),
    values: elementsOf(contentOf(values, TAG.set), budget).map((value) => contentOf(value, TAG.octetString)),
  };
}

function resultOf([code, matchedDn, text, ...rest]: readonly Element[], budget: Budget): LdapResult {
  if (code === undefined) throw new NotLdap("a result without a code");
  contentOf(matchedDn, TAG.octetString);
  const referral = rest.find(({ tag }) => tag === REFERRAL);
  const uris = referral === undefined ? [] : elementsOf(referral.content, budget);
  return {
    code: integerOf(code, TAG.enumerated),
    text: contentOf(text, TAG.octetString).toString(),
    referral: uris.map((uri) => contentOf(uri, TAG.octetString).toString()),
  };
}

type Element = { readonly tag: number; readonly content: Buffer };
type Budget = { left: number };

/** All elements that `bytes` are made of; none may end outside. */
function elementsOf(bytes: Buffer, budget: Budget): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at < bytes.length;) {
    budget.left -= 1;
    if (budget.left < 0) throw new TooManyElements(`a message of more than ${MAX_ELEMENTS} elements`);
    const header = readHeader(bytes, at);
    if (header === undefined || header.start + header.length > bytes.length)
      throw new NotLdap("an element that goes on beyond its end");
    const end = header.start + header.length;
    elements.push({ tag: bytes[at] ?? 0, content: bytes.subarray(header.start, end) });
    at = end;
  }
  return elements;
}

/** Tags have one octet in LDAP; lengths are definite, and may be longer than need be: Active Directory uses four octets. */
function readHeader(bytes: Buffer, at: number): { start: number; length: number } | undefined {
  const first = bytes[at + 1];
  if (first === undefined) return undefined;
  if (first < 0x80) return { start: at + 2, length: first };
  const octets = first - 0x80;
  if (octets === 0 || octets > 4) throw new NotLdap("a length of an unknown form");
  if (at + 2 + octets > bytes.length) return undefined;
  return { start: at + 2 + octets, length: bytes.readUIntBE(at + 2, octets) };
}

function contentOf(element: Element | undefined, tag: number): Buffer {
  if (element?.tag !== tag) throw new NotLdap(`an element other than 0x${tag.toString(16)}`);
  return element.content;
}

/** Message ids and result codes: not negative, at most 2^31 - 1. */
function integerOf(element: Element, tag: number): number {
  const content = contentOf(element, tag);
  if (content.length === 0 || content.length > 4 || (content[0] ?? 0) > 0x7f)
    throw new NotLdap("a number out of range");
  return content.readUIntBE(0, content.length);
}
