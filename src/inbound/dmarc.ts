// Dmarc: our own check whether the author's domain stands by a message (RFC 6376, 9989), by mailauth and within bounds.
//
// Behind a border MTA the host that delivered the message from outside is not known, so DKIM is what counts, and SPF cannot be
// asked. ARC, BIMI and MTA-STS are never touched, and no question goes out but by `resolve`.
import { Readable } from "node:stream";
import { setImmediate } from "node:timers/promises";
import { asError } from "../as-error.ts";
import { parseMailbox, type Mailbox } from "../mail/address.ts";
import { readHead, sizedFrom, type Sized } from "../mail/chunks.ts";
import { joinFields, MAX_HEADER_BYTES, readHeader, type HeaderField, type HeaderSection } from "../mail/header.ts";
import { authorOf, type Belief } from "./author.ts";

/** Answers as `dns.promises.resolve(name, type)` does, its error codes included (ENOTFOUND, ENODATA: there is none). */
export type DnsResolve = (name: string, type: string) => Promise<string[][] | string[]>;

export type DmarcCheck = {
  readonly message: Sized;
  readonly author: Mailbox;
  /** Milliseconds since 1970: signatures that expired before do not count. */
  readonly now: number;
  readonly resolve: DnsResolve;
  /** A field, in lower case, that a DKIM signature must cover to count: the one that what is learned rests on. */
  readonly signedField?: string | undefined;
  readonly signal: AbortSignal;
};

/** What a message may cost. The header limits are there because mailauth's reading is quadratic in them. */
export const DMARC_LIMITS = {
  signatures: 5,
  signatureBytes: 8_192,
  headerFields: 1_000,
  headerLines: 4_000,
  lineBytes: 65_536,
  dnsQuestions: 20,
  deadlineMs: 5_000,
} as const;

export type DmarcLimits = { readonly [limit in keyof typeof DMARC_LIMITS]: number };

/** Who checks by other evidence does without mailauth. Loading it takes a moment in which nothing else goes on: best at the start. */
export async function loadMailauth() {
  const [{ dkimVerify }, { evaluateDmarc }] = await Promise.all([
    import("mailauth/lib/dkim/verify.js"),
    import("mailauth/lib/dmarc/index.js"),
  ]);
  return { dkimVerify, evaluateDmarc };
}

type Mailauth = Awaited<ReturnType<typeof loadMailauth>>;
type Signature = Awaited<ReturnType<Mailauth["dkimVerify"]>>["results"][number];

const no = (reason: string): Belief => ({ believed: false, reason });

/**
 * Whether DMARC passes for the author (From) of a message. Never rejects: what goes wrong, and what takes longer than the
 * deadline, is not believed. A signature counts only when it covers the whole body (no `l=`, RFC 6376 8.2), From and
 * `signedField`, when its key is not in testing, and when its domain is aligned by the public suffix list as well as by DMARC's own tree walk: a
 * shared suffix that publishes a DMARC record must not vouch for its customers to one another.
 */
export async function checkDmarc(check: DmarcCheck, limits: DmarcLimits = DMARC_LIMITS): Promise<Belief> {
  const signal = AbortSignal.any([check.signal, AbortSignal.timeout(limits.deadlineMs)]);
  const late = Promise.withResolvers<Belief>();
  const giveUp = () => late.resolve(no("dmarc: no verdict in time: not learned"));
  signal.addEventListener("abort", giveUp, { once: true });
  try {
    signal.throwIfAborted();
    return await Promise.race([late.promise, judge(check, limits, signal)]);
  } catch (thrown) {
    return no(`dmarc: the check failed: ${asError(thrown).message}`);
  } finally {
    signal.removeEventListener("abort", giveUp);
  }
}

async function judge(check: DmarcCheck, limits: DmarcLimits, signal: AbortSignal): Promise<Belief> {
  const { message, author, now, signedField } = check;
  const head = (await readHead(message, MAX_HEADER_BYTES)).subarray(0, MAX_HEADER_BYTES);
  const header = readHeader(head, head.length === message.size);
  const fault = header === undefined ? "is too long" : headerFault(header, head, author, limits);
  if (header === undefined || fault !== undefined) return no(`dmarc: the header section ${fault ?? "is too long"}`);
  const resolver = boundedResolve(check.resolve, limits.dnsQuestions, signal);
  const octets = Readable.from(octetsOf(header, sizedFrom(message, header.size), limits, signal), {
    objectMode: false,
  });
  try {
    const { dkimVerify, evaluateDmarc } = await loadMailauth();
    const dkim = await dkimVerify(octets, { resolver, strict: true, curTime: now, sender: author.address });
    // mailauth must read the same one author as we did
    const [from = "", ...more] = dkim.headerFrom.map((address) => parseMailbox(address));
    if (dkim.fromFields !== 1 || from === "" || more.length > 0 || "fault" in from || from.mailbox.key !== author.key)
      return no("dmarc: From is read in two ways");
    const passed = dkim.results.filter(({ status }) => status.result === "pass");
    const counted = passed.filter((signature) => faultOf(signature, signedField) === undefined);
    const verdict = await evaluate(evaluateDmarc, author, counted, resolver);
    return verdict.believed ? verdict : no(verdict.reason + dkimReason(dkim.results, signedField));
  } finally {
    octets.destroy();
  }
}

/** Why a header section is not handed on; the words follow "the header section". */
function headerFault(header: HeaderSection, head: Buffer, author: Mailbox, limits: DmarcLimits): string | undefined {
  const octets = header.fields.reduce((sum, field) => sum + field.raw.length, 0);
  if (octets + 2 !== header.size) return "does not end with an empty line";
  const text = head.toString("latin1", 0, header.size);
  if (/\r(?!\n)|(?<!\r)\n/.test(text)) return "has a bare CR or LF";
  if (header.fields.length > limits.headerFields) return `has more than ${limits.headerFields} fields`;
  if (text.split("\n").length > limits.headerLines) return `has more than ${limits.headerLines} lines`;
  const from = authorOf(header);
  if ("refused" in from) return `names no author: ${from.refused}`;
  return from.mailbox.key === author.key ? undefined : "names another author";
}

/**
 * The message with at most five DKIM-Signature fields and no ARC field. A signature that signs such fields itself is not
 * kept, so no kept one loses what it covers. Throws for lines that mailauth would copy over and over.
 */
async function* octetsOf(header: HeaderSection, body: Sized, limits: DmarcLimits, signal: AbortSignal) {
  yield Buffer.concat([joinFields(keptFields(header.fields, limits)), Buffer.from("\r\n")]);
  let lineBytes = 0;
  let last: number | undefined;
  for await (const chunk of body.chunks()) {
    // hashing is synchronous: without a turn in between no deadline would fire
    await setImmediate();
    signal.throwIfAborted();
    let start = 0;
    for (let lf = chunk.indexOf(10); lf >= 0; lf = chunk.indexOf(10, start)) {
      if ((lf === 0 ? last : chunk[lf - 1]) !== 13) throw new Error("the body has a bare LF");
      if (lineBytes + lf - start > limits.lineBytes) throw new Error("the body has a line that is too long");
      lineBytes = 0;
      start = lf + 1;
    }
    lineBytes += chunk.length - start;
    if (lineBytes > limits.lineBytes) throw new Error("the body has a line that is too long");
    last = chunk.at(-1);
    yield chunk;
  }
}

function keptFields(fields: readonly HeaderField[], limits: DmarcLimits): HeaderField[] {
  let signatures = 0;
  return fields.filter(({ name, raw }) => {
    if (name.startsWith("arc-")) return false;
    if (name !== "dkim-signature") return true;
    if (raw.length > limits.signatureBytes) return false;
    const value = Buffer.from(raw)
      .toString("latin1")
      .replace(/^[^:]*/, "");
    return !/arc-|dkim-signature/i.test(value) && ++signatures <= limits.signatures;
  });
}

/** `resolve` that asks each question once and no more than `most` of them, and none after `signal`. */
function boundedResolve(resolve: DnsResolve, most: number, signal: AbortSignal): DnsResolve {
  const answers = new Map<string, Promise<string[][] | string[]>>();
  return async (name, type) => {
    signal.throwIfAborted();
    const question = `${type} ${name.toLowerCase()}`;
    const known = answers.get(question);
    if (known !== undefined) return copyOf(await known);
    if (answers.size >= most) throw new Error(`more than ${most} DNS questions`);
    const answer = resolve(name, type);
    answers.set(question, answer);
    return copyOf(await answer);
  };
}

/** mailauth sorts what it gets. */
const copyOf = (answer: string[][] | string[]) => answer.slice();

/** Why a signature that verifies does not count. */
function faultOf(signature: Signature, signedField: string | undefined): string | undefined {
  if (signature.canonBodyLengthLimited !== false) return "covers a part of the body only (l=)";
  if (signature.status.testing === true) return "is made with a key in testing (t=y)";
  if (typeof signature.status.aligned !== "string") return "is of another domain";
  // the fields that were there and signed, as they are written
  const covered = signature.signingHeaders?.keys.toLowerCase().split(": ") ?? [];
  return signedField === undefined || covered.includes(signedField) ? undefined : `does not cover ${signedField}`;
}

function dkimReason(signatures: readonly Signature[], signedField: string | undefined): string {
  const reasons = signatures.map((signature) => {
    const { result, comment } = signature.status;
    const why = result === "pass" ? (faultOf(signature, signedField) ?? "counts") : (comment ?? "");
    return `dkim=${result}${why === "" ? "" : ` (${why})`}`;
  });
  return reasons.length > 0 ? `; ${[...new Set(reasons)].join(", ")}` : "";
}

async function evaluate(
  evaluateDmarc: Mailauth["evaluateDmarc"],
  author: Mailbox,
  signatures: readonly Signature[],
  resolver: DnsResolve,
): Promise<Belief> {
  const dkimDomains = signatures.flatMap(({ signingDomain }) =>
    signingDomain === undefined ? [] : [{ domain: signingDomain }],
  );
  const { response } = await evaluateDmarc({
    headerFrom: author.domain,
    fromFields: 1,
    dkimDomains,
    resolver,
    strict: true,
  });
  if (response === false) return no("dmarc: the author's domain cannot be checked");
  const { result } = response.status;
  if (result === "none") return no(`dmarc=none: ${author.domain} publishes no dmarc policy`);
  if (result === "temperror") return no("dmarc=temperror: try later is no use: not learned");
  if (result !== "pass") return no(`dmarc=${result}`);
  const signer = response.alignment.dkim.result;
  // nothing else was there to pass: a verdict without a signer is a fault of mailauth's
  if (typeof signer !== "string") return no("dmarc: no signer vouches for the author's domain");
  return { believed: true, by: `own check: dmarc=pass, dkim of ${signer}` };
}
