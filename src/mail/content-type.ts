// Content-Type of incoming, maybe hostile mail: read strictly, or refused where two readers could differ (RFC 2045 5.1).
import { fieldsNamed, fieldValue, type HeaderSection } from "./header.ts";

/** `type` in lower case, e.g. `multipart/signed`; names of parameters in lower case, their values as written. */
export type ContentType = { readonly type: string; readonly parameters: ReadonlyMap<string, string> };

/** Why MIME is not read, for people. */
export type MimeFault = { readonly fault: string };

const MAX_VALUE_CHARS = 8192;
const MAX_PARAMETERS = 50;
const TOKEN = "[!#$%&'*+.0-9A-Z^_`a-z{|}~-]+";
const TYPE = new RegExp(`(${TOKEN}/${TOKEN})[ \\t]*`, "y");
/** A parameter, or nothing between two semicolons. */
const PARAMETER = new RegExp(`;[ \\t]*(?:(${TOKEN})=(?:(${TOKEN})|"([^"\\\\]*(?:\\\\.[^"\\\\]*)*)")[ \\t]*)?`, "y");
/** Attribute, number of the piece, and whether its value is percent-encoded (RFC 2231 3, 4). */
const ATTRIBUTE = /^([^*]+)(?:\*(0|[1-9]\d?))?(\*)?$/;
/** These say how the entity is read; programs that verify signatures take them in their plainest form only. */
const STRUCTURAL: ReadonlySet<string> = new Set(["boundary", "protocol", "micalg", "smime-type"]);

/** One piece of a value; `number` is undefined for a value that is whole. */
type Piece = { readonly number: number | undefined; readonly isEncoded: boolean; readonly value: string };

/**
 * The Content-Type of an entity; `text/plain` when there is none. A field or parameter that occurs twice is a fault, and so is
 * what is not of the grammar, comments included. RFC 2231 pieces and character sets are put together. Never throws.
 */
export function contentType(header: HeaderSection): ContentType | MimeFault {
  const [field, second] = fieldsNamed(header, "content-type");
  if (field === undefined) return { type: "text/plain", parameters: new Map() };
  if (second !== undefined) return { fault: "more than one Content-Type" };
  const text = fieldValue(field);
  if (text.length > MAX_VALUE_CHARS) return { fault: `Content-Type has more than ${MAX_VALUE_CHARS} characters` };
  // a tab is white space; any other control character is not for a header
  if (/\p{Cc}/u.test(text.replaceAll("\t", " "))) return { fault: "Content-Type has a control character" };
  TYPE.lastIndex = 0;
  const type = TYPE.exec(text)?.[1]?.toLowerCase();
  if (type === undefined) return { fault: "Content-Type is malformed" };
  const pieces = readPieces(text, TYPE.lastIndex);
  return "fault" in pieces ? pieces : joined(type, pieces);
}

function readPieces(text: string, from: number): Map<string, Piece[]> | MimeFault {
  const pieces = new Map<string, Piece[]>();
  let at = from;
  for (let count = 0; at < text.length; at = PARAMETER.lastIndex, count += 1) {
    if (count > MAX_PARAMETERS) return { fault: `Content-Type has more than ${MAX_PARAMETERS} parameters` };
    PARAMETER.lastIndex = at;
    const match = PARAMETER.exec(text);
    if (match === null) return { fault: "Content-Type has a malformed parameter" };
    const [, attribute, token, quoted = ""] = match;
    if (attribute === undefined) continue;
    const [, name = "", number, star] = ATTRIBUTE.exec(attribute.toLowerCase()) ?? [];
    if (name === "") return { fault: "Content-Type has a malformed parameter" };
    if (STRUCTURAL.has(name) && (number !== undefined || star !== undefined || quoted.includes("\\")))
      return { fault: `parameter ${name} of Content-Type is written in an unusual way` };
    const piece: Piece = {
      number: number === undefined ? undefined : Number(number),
      isEncoded: star !== undefined,
      value: token ?? quoted.replace(/\\(.)/g, "$1"),
    };
    const before = pieces.get(name);
    if (before === undefined) pieces.set(name, [piece]);
    else before.push(piece);
  }
  return pieces;
}

function joined(type: string, pieces: ReadonlyMap<string, readonly Piece[]>): ContentType | MimeFault {
  const parameters = new Map<string, string>();
  for (const [name, own] of pieces) {
    const value = valueOf(own);
    if (value === undefined) return { fault: `parameter ${name} of Content-Type occurs twice or in odd pieces` };
    parameters.set(name, value);
  }
  return { type, parameters };
}

/** The value that the pieces make up; undefined unless each is there once, from 0 on, and decodes. */
function valueOf(pieces: readonly Piece[]): string | undefined {
  const isWhole = pieces.length === 1 && pieces[0]?.number === undefined;
  const inOrder = pieces.toSorted((a, b) => (a.number ?? -1) - (b.number ?? -1));
  if (!isWhole && inOrder.some((piece, index) => piece.number !== index)) return undefined;
  const [first] = inOrder;
  if (first === undefined) return undefined;
  if (!first.isEncoded) return inOrder.some((piece) => piece.isEncoded) ? undefined : textOf(inOrder);
  const [, charset = "", rest] = /^([^']*)'[^']*'(.*)$/.exec(first.value) ?? [];
  if (rest === undefined) return undefined;
  return decoded([{ ...first, value: rest }, ...inOrder.slice(1)], charset);
}

const textOf = (pieces: readonly Piece[]) => pieces.map(({ value }) => value).join("");

function decoded(pieces: readonly Piece[], charset: string): string | undefined {
  const octets = pieces.map(({ isEncoded, value }) => {
    if (!isEncoded) return Buffer.from(value);
    if (/%(?![0-9a-f]{2})/i.test(value)) return undefined;
    const text = value.replace(/%(..)/g, (_, hex: string) => String.fromCharCode(parseInt(hex, 16)));
    return Buffer.from(text, "latin1");
  });
  const whole = octets.filter((octet) => octet !== undefined);
  if (whole.length < octets.length) return undefined;
  try {
    const text = new TextDecoder(charset, { fatal: true }).decode(Buffer.concat(whole));
    return /\p{Cc}/u.test(text) ? undefined : text;
  } catch {
    // a character set that is not known, or octets that are not of it
    return undefined;
  }
}
