// LDAP filter: reads an operator's filter strictly (RFC 4515); ldapts' own reader lets parentheses go and loses attributes.
import { isUtf8 } from "node:buffer";
import {
  AndFilter,
  ApproximateFilter,
  EqualityFilter,
  ExtensibleFilter,
  GreaterThanEqualsFilter,
  LessThanEqualsFilter,
  NotFilter,
  OrFilter,
  PresenceFilter,
  SubstringFilter,
  type BerWriter,
  type Filter,
} from "ldapts";

type Reader = { readonly text: string; at: number };

class FilterFault extends Error {}

const MAX_DEPTH = 50;

/**
 * Reads one filter, with or without the outer parentheses; white space between its parts is let pass, as YAML folds lines.
 * `fault` says what is wrong with it, as the rest of a sentence.
 */
export function parseLdapFilter(text: string): Filter | { readonly fault: string } {
  const trimmed = text.trim();
  if (trimmed === "") return { fault: "it is empty" };
  const reader = { text: trimmed.startsWith("(") ? trimmed : `(${trimmed})`, at: 0 };
  try {
    const filter = readFilter(reader, 0);
    if (reader.at < reader.text.length) throw new FilterFault(`${JSON.stringify(restOf(reader))} follows its end`);
    return filter;
  } catch (cause) {
    if (cause instanceof FilterFault) return { fault: cause.message };
    throw cause;
  }
}

function readFilter(reader: Reader, depth: number): Filter {
  if (depth > MAX_DEPTH) throw new FilterFault(`it is nested more than ${MAX_DEPTH} deep`);
  expect(reader, "(");
  const sign = reader.text[reader.at] ?? "";
  if (!"&|!".includes(sign) || sign === "") return readItem(reader);
  reader.at += 1;
  const filters: Filter[] = [];
  while (afterSpace(reader) === "(") filters.push(readFilter(reader, depth + 1));
  expect(reader, ")");
  const [first] = filters;
  if (first === undefined || (sign === "!" && filters.length > 1))
    throw new FilterFault(`${JSON.stringify(sign)} needs ${sign === "!" ? "exactly one filter" : "filters"} behind it`);
  return sign === "&"
    ? new AndFilter({ filters })
    : sign === "|"
      ? new OrFilter({ filters })
      : new NotFilter({ filter: first });
}

const ATTRIBUTE = String.raw`(?:[A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+)(?:;[A-Za-z0-9-]+)*`;
const ITEM = new RegExp(`^(${ATTRIBUTE})(=|>=|<=|~=)([^()]*)$`, "s");
const MATCHING_RULE_ITEM = new RegExp(
  String.raw`^(${ATTRIBUTE})?(:dn)?(?::([A-Za-z][A-Za-z0-9-]*|\d+(?:\.\d+)+))?:=([^()*]*)$`,
  "is",
);

function readItem(reader: Reader): Filter {
  const end = reader.text.indexOf(")", reader.at);
  const item = reader.text.slice(reader.at, end < 0 ? undefined : end);
  reader.at += item.length;
  expect(reader, ")");
  const [, attribute, operator, value = ""] = ITEM.exec(item) ?? [];
  if (attribute === undefined) return matchingRuleOf(item);
  switch (operator) {
    case ">=":
      return new GreaterThanEqualsFilter({ attribute, value: textOf(value) });
    case "<=":
      return new LessThanEqualsFilter({ attribute, value: textOf(value) });
    case "~=":
      return new ApproximateFilter({ attribute, value: textOf(value) });
    default:
      return value === "*" ? new PresenceFilter({ attribute }) : equalityOf(attribute, value);
  }
}

function equalityOf(attribute: string, value: string): Filter {
  const [initial = "", ...rest] = value.split("*");
  const final = rest.pop();
  if (final === undefined) {
    const octets = octetsOf(value);
    return new EqualityFilter({ attribute, value: isUtf8(octets) ? octets.toString() : octets });
  }
  const any = rest.map(textOf);
  if (any.includes("")) throw new FilterFault(`${JSON.stringify(value)} has two wildcards side by side`);
  return new SubstringFilter({ attribute, initial: textOf(initial), any, final: textOf(final) });
}

function matchingRuleOf(item: string): Filter {
  const [whole, matchType, dn, rule, value = ""] = MATCHING_RULE_ITEM.exec(item) ?? [];
  if (whole === undefined) throw new FilterFault(`${JSON.stringify(item)} is no comparison such as attribute=value`);
  if (matchType === undefined && rule === undefined)
    throw new FilterFault(`${JSON.stringify(item)} names no attribute`);
  return new MatchingRuleFilter({
    ...(matchType === undefined ? {} : { matchType }),
    ...(rule === undefined ? {} : { rule }),
    dnAttributes: dn !== undefined,
    value: textOf(value),
  });
}

/** ldapts 9.2.0 leaves the attribute out of what it sends, so that Active Directory's bit filters match nobody. RFC 4511 4.5.1.7.7. */
class MatchingRuleFilter extends ExtensibleFilter {
  override writeFilter(writer: BerWriter): void {
    if (this.rule !== "") writer.writeString(this.rule, 0x81);
    if (this.matchType !== "") writer.writeString(this.matchType, 0x82);
    writer.writeString(this.value, 0x83);
    if (this.dnAttributes) writer.writeBoolean(true, 0x84);
  }

  override toString(): string {
    const rule = this.rule === "" ? "" : `:${this.rule}`;
    return `(${this.matchType}${this.dnAttributes ? ":dn" : ""}${rule}:=${ExtensibleFilter.escape(this.value)})`;
  }
}

/** The value without its escapes: `\` and two hex digits are one octet (RFC 4515 3). */
function octetsOf(value: string): Buffer {
  const parts = value.split(/(\\[0-9A-Fa-f]{2})/);
  if (parts.some((part, index) => index % 2 === 0 && /[\\\0]/.test(part)))
    throw new FilterFault(`${JSON.stringify(value)} has a backslash that two hex digits do not follow`);
  return Buffer.concat(
    parts.map((part, index) => (index % 2 === 0 ? Buffer.from(part) : Buffer.from(part.slice(1), "hex"))),
  );
}

function textOf(value: string): string {
  const octets = octetsOf(value);
  if (!isUtf8(octets)) throw new FilterFault(`${JSON.stringify(value)} is not UTF-8`);
  return octets.toString();
}

function afterSpace(reader: Reader): string | undefined {
  while (/\s/.test(reader.text[reader.at] ?? "")) reader.at += 1;
  return reader.text[reader.at];
}

function expect(reader: Reader, mark: string): void {
  if (reader.text[reader.at] !== mark)
    throw new FilterFault(`${JSON.stringify(mark)} is missing before ${JSON.stringify(restOf(reader))}`);
  reader.at += 1;
}

function restOf({ text, at }: Reader): string {
  return text.slice(at, at + 40);
}
