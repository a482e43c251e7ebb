// RFC 2047 encoded words: reading a Subject, writing one of our own.

const WORD = /=\?([\w-]+)(?:\*[\w-]+)?\?([bq])\?([^? ]*)\?=/gi;

/** Decodes encoded words; what cannot be decoded stays as it is. The result may hold any character, line breaks included. */
export function decodeWords(text: string): string {
  // white space between two encoded words belongs to neither (RFC 2047 6.2)
  const joined = text.replace(/(\?=)[ \t\r\n]+(?==\?[\w-]+(?:\*[\w-]+)?\?[bq]\?)/gi, "$1");
  const parts: { charset: string; bytes: Buffer[] }[] = [];
  let out = "";
  let last = 0;
  // neighbouring words of one charset are joined as bytes first: JavaMail splits within a character
  const flush = () => {
    for (const part of parts.splice(0)) out += decode(Buffer.concat(part.bytes), part.charset);
  };
  for (const match of joined.matchAll(WORD)) {
    const between = joined.slice(last, match.index);
    if (between !== "") {
      flush();
      out += between;
    }
    last = match.index + match[0].length;
    const charset = (match[1] ?? "").toLowerCase();
    const bytes =
      (match[2] ?? "").toLowerCase() === "b" ? Buffer.from(match[3] ?? "", "base64") : fromQ(match[3] ?? "");
    const previous = parts.at(-1);
    if (previous?.charset === charset) previous.bytes.push(bytes);
    else parts.push({ charset, bytes: [bytes] });
  }
  flush();
  return out + joined.slice(last);
}

function fromQ(text: string): Buffer {
  const unescaped = text
    .replace(/_/g, " ")
    .replace(/=([0-9A-F]{2})/gi, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
  return Buffer.from(unescaped, "latin1");
}

function decode(bytes: Buffer, charset: string): string {
  try {
    return new TextDecoder(charset).decode(bytes);
  } catch {
    return bytes.toString("latin1");
  }
}
