// Header section of a message as ordered raw fields: read once, never re-serialised.

/** Largest header section that is accepted, in octets. */
export const MAX_HEADER_BYTES = 262_144;

/** One field: `raw` is its very octets with every fold and the final CRLF; `name` is lower-case. */
export type HeaderField = { readonly name: string; readonly raw: Uint8Array };

/** A message's header section and where its body begins. */
export type HeaderSection = {
  readonly fields: readonly HeaderField[];
  /** Octets up to the first octet of the body: the header and the blank line, if there is one. */
  readonly size: number;
};

const CR = 13;
const LF = 10;

/**
 * Splits the head of a message (CRLF line ends) into fields. `head` must hold the whole header section or MAX_HEADER_BYTES
 * of it; undefined when no blank line is found and `isComplete` is false. A message may end within its header.
 */
export function readHeader(head: Uint8Array, isComplete: boolean): HeaderSection | undefined {
  const bytes = Buffer.from(head.buffer, head.byteOffset, head.byteLength);
  const fields: HeaderField[] = [];
  let start = 0;
  let at = 0;
  for (;;) {
    if (at === start && bytes[at] === CR && bytes[at + 1] === LF) return { fields, size: at + 2 };
    const lf = bytes.indexOf(LF, at);
    if (lf < 0) break;
    at = lf + 1;
    const next = bytes[at];
    if (next === undefined && !isComplete) return undefined;
    if (next === 32 || next === 9) continue;
    const read = field(bytes.subarray(start, at));
    // what is neither field nor fold begins the body, as other mail servers see it: else text would become header
    if (read.name === "") return { fields, size: start };
    fields.push(read);
    start = at;
  }
  if (!isComplete) return undefined;
  // a message without a blank line is all header; the last line may lack its line end
  if (start < bytes.length) {
    const last = field(Buffer.concat([bytes.subarray(start), Buffer.from("\r\n")]));
    if (last.name === "") return { fields, size: start };
    fields.push(last);
  }
  return { fields, size: bytes.length };
}

function field(raw: Buffer): HeaderField {
  const colon = raw.indexOf(58);
  const name = colon < 0 ? "" : raw.toString("latin1", 0, colon).replace(/[ \t]+$/, "");
  return { name: /^[!-9;-~]+$/.test(name) ? name.toLowerCase() : "", raw };
}

/** The unfolded value of a field as text (UTF-8), without its name and surrounding white space. */
export function fieldValue(field: HeaderField): string {
  const text = Buffer.from(field.raw).toString("utf8");
  return text
    .slice(text.indexOf(":") + 1)
    .replace(/\r\n(?=[ \t])/g, "")
    .trim();
}

/** The first field of that lower-case name. */
export function firstField(header: HeaderSection, name: string): HeaderField | undefined {
  return header.fields.find((field) => field.name === name);
}

export function fieldsNamed(header: HeaderSection, name: string): HeaderField[] {
  return header.fields.filter((field) => field.name === name);
}

/** Octets of the given fields one after the other. */
export function joinFields(fields: readonly HeaderField[]): Buffer {
  return Buffer.concat(fields.map((field) => field.raw));
}
