// PEM: the blocks of a text (RFC 7468), each on its own.

/** `der` is undefined when the text between the lines is not base64, `isClosed` false when the END line is missing. */
export type PemBlock = { readonly label: string; readonly der: Buffer | undefined; readonly isClosed: boolean };

const BEGIN = /^-----BEGIN ([A-Z0-9 #.]{1,60})-----[ \t]*\r?$/;

/** The blocks in order. Free text around them is passed over, and so are header lines inside. */
export function* pemBlocks(text: string): Generator<PemBlock, void, void> {
  let label: string | undefined;
  let lines: string[] = [];
  for (const line of linesOf(text)) {
    const begin = line.startsWith("-----BEGIN ") ? BEGIN.exec(line)?.[1] : undefined;
    if (begin !== undefined) {
      if (label !== undefined) yield { label, der: fromBase64(lines.join("")), isClosed: false };
      label = begin;
      lines = [];
    } else if (label !== undefined && line.trimEnd() === `-----END ${label}-----`) {
      yield { label, der: fromBase64(lines.join("")), isClosed: true };
      label = undefined;
      lines = [];
    } else if (label !== undefined && !line.includes(":")) {
      lines.push(line);
    }
  }
  if (label !== undefined) yield { label, der: fromBase64(lines.join("")), isClosed: false };
}

/** The octets of base64 text, white space in it or not; undefined when it is anything else. */
export function fromBase64(text: string): Buffer | undefined {
  const dense = text.replace(/\s+/g, "");
  if (dense === "" || dense.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(dense)) return undefined;
  return Buffer.from(dense, "base64");
}

function* linesOf(text: string): Generator<string, void, void> {
  for (let at = 0; at < text.length;) {
    const end = text.indexOf("\n", at);
    yield end < 0 ? text.slice(at) : text.slice(at, end);
    at = end < 0 ? text.length : end + 1;
  }
}
