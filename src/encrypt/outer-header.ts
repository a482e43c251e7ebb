// What stays outside a ciphertext and what moves inside; hides the subject by RFC 9788 when asked to.
import { concatSized, sizedBytes, sizedFrom, type Sized } from "../mail/chunks.ts";
import { fieldValue, firstField, joinFields, type HeaderField, type HeaderSection } from "../mail/header.ts";
import { isSealpostHop } from "../mail/trace.ts";
import { decodeWords } from "../mail/encoded-word.ts";
import type { Split } from "./cipher.ts";

export type SubjectMode = "keep" | "issue-key" | "hide";

/** RFC 9788 3.2.1: what a hidden subject looks like outside. */
const HIDDEN_SUBJECT = "[...]";

/** Fields of which a message has at most one (RFC 5322 3.6); of several only the first stays outside. */
const SINGLE = new Set([
  "from",
  "sender",
  "reply-to",
  "to",
  "cc",
  "subject",
  "date",
  "message-id",
  "in-reply-to",
  "references",
]);

/** Never outside: MIME-Version is written anew, a signature over the clear mail no longer verifies, Bcc names hidden readers. */
const DROPPED = new Set(["", "mime-version", "bcc", "resent-bcc", "dkim-signature", "return-path"]);

/** With a hidden subject nothing stays outside but what threading, routing and loop detection need. */
const NEEDED_OUTSIDE = new Set([...SINGLE, "received", "auto-submitted", "precedence", "x-jira-fingerprint"]);

/** Octets of a line without its CRLF. */
const MAX_LINE = 998;

const isContentField = (field: HeaderField) => field.name.startsWith("content-");
/** Hops before us name hosts of the house, and say nothing to a reader; our own are what ends a loop. */
const isForeignHop = (field: HeaderField) => field.name === "received" && !isSealpostHop(fieldValue(field));
const staysOutside = (field: HeaderField, index: number, all: readonly HeaderField[]) =>
  !isContentField(field) &&
  !DROPPED.has(field.name) &&
  !isForeignHop(field) &&
  (!SINGLE.has(field.name) || all.findIndex((other) => other.name === field.name) === index);

/** Splits a message: `content` is the whole message whose header section is `header`. */
export function splitMessage(header: HeaderSection, content: Sized, subject: SubjectMode): Split {
  const body = sizedFrom(content, header.size);
  if (subject === "keep") {
    const outer = header.fields.filter(staysOutside);
    const folded = outer.flatMap(withinLineLimit);
    // what cannot be folded outside is not lost: it moves inside
    const isInside = (field: HeaderField) =>
      isContentField(field) || (outer.includes(field) && withinLineLimit(field).length === 0);
    const inner = Buffer.concat([joinFields(header.fields.filter(isInside)), Buffer.from("\r\n")]);
    return { outerFields: joinFields(folded), inner: concatSized(sizedBytes(inner), body) };
  }
  const outer = header.fields
    .filter(staysOutside)
    .filter((field) => NEEDED_OUTSIDE.has(field.name) || field.name.startsWith("list-"))
    .map((field) => (field.name === "subject" ? hiddenSubject(field, subject) : field))
    .flatMap(withinLineLimit);
  return {
    outerFields: joinFields(outer),
    inner: concatSized(sizedBytes(Buffer.concat([protectedHeader(header, outer), Buffer.from("\r\n")])), body),
  };
}

/** The message as it came, without the fields that are for nobody to see: for mail that leaves in clear. */
export function withoutPrivateFields(header: HeaderSection, content: Sized): Sized {
  const isPrivate = ({ name }: HeaderField) => name === "bcc" || name === "resent-bcc" || name === "return-path";
  if (!header.fields.some(isPrivate)) return content;
  const kept = header.fields.filter((field) => !isPrivate(field));
  return concatSized(
    sizedBytes(Buffer.concat([joinFields(kept), Buffer.from("\r\n")])),
    sizedFrom(content, header.size),
  );
}

/** `[JIRA] (SEC-42)` at the start of a subject: written by Jira's template, before anything a user has written. */
export function issuePrefix(subject: string): string | undefined {
  return /^ ?((?:\[[\w .-]{1,40}\] ?)?\([A-Z][A-Z0-9_]+-\d+\))/.exec(subject)?.[1];
}

function hiddenSubject(field: HeaderField, mode: "issue-key" | "hide"): HeaderField {
  const kept = mode === "issue-key" ? issuePrefix(decodeWords(fieldValue(field))) : undefined;
  return { name: "subject", raw: Buffer.from(`Subject: ${kept ?? HIDDEN_SUBJECT}\r\n`) };
}

/**
 * The inner header of RFC 9788: every field of the message, what is seen outside as HP-Outer, and `hp="cipher"` on the
 * Content-Type. Trace fields say nothing to a reader and stay out.
 */
function protectedHeader(header: HeaderSection, outer: readonly HeaderField[]): Buffer {
  const fields = header.fields.filter((field) => !DROPPED.has(field.name) && field.name !== "received");
  const seenOutside = outer
    .filter((field) => field.name !== "received")
    .map((field) => Buffer.concat([Buffer.from("HP-Outer: "), field.raw]));
  const contentType = firstField(header, "content-type");
  const parts: Uint8Array[] = fields.filter((field) => !isContentField(field)).map((field) => field.raw);
  parts.push(...seenOutside);
  for (const field of fields.filter(isContentField))
    parts.push(field === contentType ? withCipherMark(field) : field.raw);
  if (contentType === undefined)
    parts.push(Buffer.from('Content-Type: text/plain; charset="us-ascii"; hp="cipher"\r\n'));
  return Buffer.concat(parts);
}

function withCipherMark(contentType: HeaderField): Buffer {
  const text = Buffer.from(contentType.raw).toString("latin1").trimEnd().replace(/;$/, "");
  return Buffer.from(`${text};\r\n hp="cipher"\r\n`, "latin1");
}

/** A line of more than 998 octets may not leave (RFC 5322 2.1.1): it is folded at white space; what has none stays inside. */
function withinLineLimit(field: HeaderField): HeaderField[] {
  if (field.raw.length <= MAX_LINE) return [field];
  const lines = Buffer.from(field.raw).toString("latin1").split("\r\n");
  if (lines.every((line) => line.length <= MAX_LINE)) return [field];
  const folded = lines.flatMap(foldLine);
  return folded.some((line) => line.length > MAX_LINE)
    ? []
    : [{ name: field.name, raw: Buffer.from(folded.join("\r\n"), "latin1") }];
}

/** Cut at the last white space or behind the last comma that still fits; a word that is too long is left too long. */
function foldLine(text: string): string[] {
  let line = text;
  const parts: string[] = [];
  let start = 0;
  while (line.length - start > MAX_LINE) {
    const space = Math.max(line.lastIndexOf(" ", start + MAX_LINE), line.lastIndexOf("\t", start + MAX_LINE));
    const comma = line.lastIndexOf(",", start + MAX_LINE - 2) + 1;
    if (Math.max(space, comma) <= start + 1) return [line];
    parts.push(line.slice(start, space > start + 1 ? space : comma));
    if (space > start + 1) start = space;
    else {
      // an address list without spaces: white space may be added behind its commas (RFC 5322 3.4)
      line = `${line.slice(0, comma)} ${line.slice(comma)}`;
      start = comma;
    }
  }
  return [...parts, line.slice(start)];
}
