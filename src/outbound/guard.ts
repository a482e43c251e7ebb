// Guard: reads what is about to leave and proves that it is ciphertext for the planned readers, or clear by a rule.
//
// It trusts nothing that the encrypting side says of itself: header and body are parsed from the very bytes that will be sent,
// by readers (enveloped-shape, message-shape) that share no code with the writers. A message up to WHOLE_BYTES is read whole
// before MAIL is said upstream. Of a longer one the head is read, which holds every reader and the length of the ciphertext;
// the rest is checked while it is sent, and an octet that is not base64 breaks off the transaction before its final dot.
import { collect, readHead, sizedBytes, throughStage, type Sized } from "../mail/chunks.ts";
import { fieldValue, readHeader, type HeaderSection } from "../mail/header.ts";
import { ApprovedClear, Ciphertext, Guarded, type Outgoing } from "../mail/outgoing.ts";
import { readMessageShape } from "../pgp/message-shape.ts";
import { readEnvelopedShape } from "../smime/enveloped-shape.ts";
import { encryptedFor } from "./already-encrypted.ts";

/** What prepare has decided, from the chosen keys and not from the ciphertext. */
export type DeparturePlan =
  | { readonly kind: "smime" | "pgp"; readonly readerIds: readonly string[]; readonly isSubjectHidden: boolean }
  | { readonly kind: "pass"; readonly readerIds: readonly string[] }
  | { readonly kind: "clear"; readonly rule: string };

/** The guard found something that may not leave. The mail waits; an operator must look at it. */
export class GuardStop extends Error {}

const WHOLE_BYTES = 1024 * 1024;
/** The longest header section there can be, and room for the readers of a group. */
const HEAD_BYTES = 512 * 1024;
/** Base64 text of a structure without readers, and of one reader of it. */
const FRAME_CHARS = 1024;
const READER_CHARS = 2048;

const SMIME_FIELDS: Record<string, RegExp> = {
  "content-type": /^application\/pkcs7-mime; smime-type=(?:enveloped-data|authEnveloped-data); name="smime\.p7m"$/,
  "content-transfer-encoding": /^base64$/,
  "content-disposition": /^attachment; filename="smime\.p7m"$/,
};
const PGP_FIELDS: Record<string, RegExp> = {
  "content-type": /^multipart\/encrypted; protocol="application\/pgp-encrypted"; boundary="[\w-]{10,70}"$/,
};
const PGP_FRAME =
  /^--([\w-]{10,70})\r\nContent-Type: application\/pgp-encrypted\r\nContent-Description: PGP\/MIME version identification\r\n\r\nVersion: 1\r\n\r\n--\1\r\nContent-Type: application\/octet-stream; name="encrypted\.asc"\r\nContent-Disposition: inline; filename="encrypted\.asc"\r\n\r\n-----BEGIN PGP MESSAGE-----\r\n\r\n/;
/** By two octets: whether both may stand in base64 text in lines. A regular expression would need the octets as text first. */
const ARE_BASE64 = pairsOf(/[A-Za-z0-9+/=\r\n]/);
/** With a hidden subject: every other field may repeat it, as Thread-Topic does. */
const OUTSIDE =
  /^(?:from|sender|reply-to|to|cc|subject|date|message-id|in-reply-to|references|received|auto-submitted|precedence|x-jira-fingerprint|mime-version|content-.+|list-.*)$/;
const NEVER_OUTSIDE = /^(?:|bcc|resent-bcc|return-path|dkim-signature)$/;
const OWN_HOP = / by \S+ \(Sealpost\) with /;
const HIDDEN_SUBJECT = /^(?:\[\.\.\.\]|(?:\[[\w .-]{1,40}\] ?)?\([A-Z][A-Z0-9_]+-\d+\))$/;

/** Gives what may be sent, or throws GuardStop with the reason. */
export async function guard(outgoing: Outgoing, plan: DeparturePlan): Promise<Guarded> {
  switch (plan.kind) {
    case "clear":
      if (!ApprovedClear.is(outgoing) || outgoing.rule !== plan.rule)
        throw new GuardStop("clear text was not approved by the planned rule");
      return new Guarded(outgoing.message);
    case "pass":
      return new Guarded(await provePass(outgoing, plan.readerIds));
    case "smime":
    case "pgp":
      if (!Ciphertext.is(outgoing) || outgoing.kind !== plan.kind)
        throw new GuardStop(`planned as ${plan.kind}, but not made so`);
      return new Guarded(await proveCiphertext(outgoing.message, plan));
  }
}

async function provePass(outgoing: Outgoing, readerIds: readonly string[]): Promise<Sized> {
  const { message } = outgoing;
  const header = await headerOf(message);
  const encrypted = Ciphertext.is(outgoing) ? await encryptedFor(header, message) : undefined;
  if (encrypted === undefined) throw new GuardStop("planned to pass, but the message is not ciphertext alone");
  sameReaders(encrypted.readerIds, readerIds);
  return message;
}

type CiphertextPlan = Extract<DeparturePlan, { isSubjectHidden: boolean }>;

async function proveCiphertext(message: Sized, plan: CiphertextPlan): Promise<Sized> {
  const isWhole = message.size <= WHOLE_BYTES;
  const head = isWhole ? await collect(message) : await readHead(message, HEAD_BYTES);
  if (isWhole && head.length !== message.size)
    throw new GuardStop(`${message.size} octets were announced, ${head.length} came`);
  const header = readHeader(head, false);
  if (header === undefined) throw new GuardStop("the outer header does not end");
  proveOuterHeader(header, plan);
  const region = plan.kind === "smime" ? smimeRegion(head, header, plan) : pgpRegion(head, header, plan);
  if (region.end + region.tail.length !== message.size) {
    throw new GuardStop(`the ciphertext should end at octet ${region.end}, the message has ${message.size}`);
  }
  if (!isWhole) return proveRegion(message, head, region);
  // what was proved is what leaves: the octets in memory, not what a second reading would give
  const whole = sizedBytes(head);
  await collect(proveRegion(whole, head, region));
  return whole;
}

function proveOuterHeader(header: HeaderSection, plan: CiphertextPlan): void {
  const expected = plan.kind === "smime" ? SMIME_FIELDS : PGP_FIELDS;
  const content = header.fields.filter((field) => field.name.startsWith("content-"));
  for (const field of content) {
    // a field moved inside that is still outside may carry a file name
    if (!(expected[field.name]?.test(fieldValue(field)) ?? false))
      throw new GuardStop(`the outer header has a ${field.name} that is not ours`);
  }
  if (content.length !== Object.keys(expected).length)
    throw new GuardStop("the outer header does not have each Content field once");
  for (const field of header.fields) {
    if (NEVER_OUTSIDE.test(field.name) || (field.name === "received" && !OWN_HOP.test(fieldValue(field))))
      throw new GuardStop("the outer header has a field that may not be seen");
    if (!plan.isSubjectHidden) continue;
    if (!OUTSIDE.test(field.name))
      throw new GuardStop(`the outer header has a ${field.name}, which may tell the subject`);
    if (field.name === "subject" && !HIDDEN_SUBJECT.test(fieldValue(field)))
      throw new GuardStop("the subject is not hidden");
  }
}

/** Where the base64 text of the ciphertext lies in the message, and what must follow it. */
type Region = { readonly start: number; readonly end: number; readonly tail: string };

function smimeRegion(head: Buffer, header: HeaderSection, plan: CiphertextPlan): Region {
  const shape = ofFirst(head.subarray(header.size), plan, readEnvelopedShape);
  sameReaders(shape.readerIds, plan.readerIds);
  if (shape.totalSize === undefined) throw new GuardStop("the CMS structure has no definite length");
  return { start: header.size, end: header.size + linesSize(shape.totalSize, 76), tail: "" };
}

function pgpRegion(head: Buffer, header: HeaderSection, plan: CiphertextPlan): Region {
  const frame = PGP_FRAME.exec(head.toString("latin1", header.size, header.size + 1024));
  if (frame === null) throw new GuardStop("the body is not two parts of PGP/MIME");
  const start = header.size + frame[0].length;
  const shape = ofFirst(head.subarray(start), plan, readMessageShape);
  sameReaders(shape.readerIds, plan.readerIds);
  if (shape.totalSize === undefined) throw new GuardStop("the OpenPGP message has no definite length");
  const end = start + linesSize(shape.totalSize, 64) + "=CRC4\r\n".length;
  return { start, end, tail: `-----END PGP MESSAGE-----\r\n\r\n--${frame[1] ?? ""}--\r\n` };
}

/** The readers and the length stand first, so the rest is decoded only when a reader takes more room than any usual one. */
function ofFirst<T>(text: Buffer, plan: CiphertextPlan, read: (head: Buffer) => T): T {
  const first = FRAME_CHARS + READER_CHARS * plan.readerIds.length;
  try {
    return read(fromBase64(text.subarray(0, first)));
  } catch (cause) {
    if (text.length <= first) throw cause;
    return read(fromBase64(text));
  }
}

/** The message again, with every octet from the end of the head on checked while it is read. */
function proveRegion(message: Sized, head: Buffer, region: Region): Sized {
  return throughStage(message, message.size, () => {
    let at = 0;
    let tail = "";
    return {
      next(chunk) {
        const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
        const from = Math.min(Math.max(region.start - at, 0), bytes.length);
        const to = Math.min(Math.max(region.end - at, 0), bytes.length);
        if (!bytes.subarray(0, from).equals(head.subarray(at, at + from)))
          throw new GuardStop("the head changed between proof and sending");
        if (!isBase64(bytes, from, to)) throw new GuardStop("an octet that is not base64 is among the ciphertext");
        tail += bytes.toString("latin1", to);
        at += bytes.length;
        if (!region.tail.startsWith(tail)) throw new GuardStop("something else follows the ciphertext");
        return [chunk];
      },
      end() {
        if (tail !== region.tail) throw new GuardStop("the ciphertext does not end as it should");
        return [];
      },
    };
  });
}

/** By pair of octets, in either order: 1 when both are of this class. */
function pairsOf(one: RegExp): Uint8Array {
  const octets = Array.from({ length: 256 }, (_, octet) => octet).filter((octet) =>
    one.test(String.fromCharCode(octet)),
  );
  const pairs = new Uint8Array(65_536);
  for (const first of octets) for (const second of octets) pairs[first * 256 + second] = 1;
  return pairs;
}

/** Two octets a step, which is four times as fast as one. */
function isBase64(bytes: Uint8Array, from: number, to: number): boolean {
  const first = from + ((bytes.byteOffset + from) & 1);
  const pairs = new Uint16Array(bytes.buffer, bytes.byteOffset + first, Math.max(0, to - first) >> 1);
  const single = (at: number) => ARE_BASE64[(bytes[at] ?? 0) * 257] ?? 0;
  let all = from < first && from < to ? single(from) : 1;
  for (let at = 0; at < pairs.length; at++) all &= ARE_BASE64[pairs[at] ?? 0] ?? 0;
  if (first + 2 * pairs.length < to) all &= single(to - 1);
  return all === 1;
}

async function headerOf(message: Sized): Promise<HeaderSection> {
  const head = await readHead(message, HEAD_BYTES);
  const header = readHeader(head, head.length === message.size);
  if (header === undefined) throw new GuardStop("the header does not end");
  return header;
}

function sameReaders(found: readonly string[], planned: readonly string[]): void {
  const sorted = (ids: readonly string[]) => [...ids].sort().join(" ");
  if (sorted(found) !== sorted(planned))
    throw new GuardStop(`readers are ${sorted(found)}, planned were ${sorted(planned)}`);
}

/** Octets of base64 text in CRLF lines of `width` characters for so many binary octets; reckoned here, not by the writers' code. */
function linesSize(binarySize: number, width: number): number {
  const chars = Math.ceil(binarySize / 3) * 4;
  return chars + 2 * Math.ceil(chars / width);
}

function fromBase64(text: Buffer): Buffer {
  const end = text.indexOf("=");
  return Buffer.from(text.toString("latin1", 0, end < 0 ? text.length : end), "base64");
}
