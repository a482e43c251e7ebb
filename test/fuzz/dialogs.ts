// What the fuzzing sends: conversations by grammar, whole and mutated commands, hostile addresses, and bodies of fragments.
import fc from "fast-check";
import { USER, type FuzzDialog, type Setup } from "./fuzz-dialog.ts";
import { ADDRESSES, BARE, base64, COMMANDS, ENDS, FRAGMENTS, latin1, PARAMETERS, SMUGGLED } from "./words.ts";

/** Octets as latin1, and whether the client waits for replies behind them or goes on at once. */
type Piece = { readonly octets: string; readonly waits: boolean };

const weighted = (...choices: readonly (readonly [number, fc.Arbitrary<string>])[]) =>
  fc.oneof(...choices.map(([weight, arbitrary]) => ({ weight, arbitrary })));
const oneOf = (texts: readonly string[]) => fc.constantFrom(...texts);
const rarely = <T>(arbitrary: fc.Arbitrary<T>, otherwise: T) =>
  fc.oneof({ weight: 15, arbitrary: fc.constant(otherwise) }, { weight: 1, arbitrary });

const goodAddress = oneOf(ADDRESSES.slice(0, 6));
const address = weighted(
  [5, goodAddress],
  [3, oneOf(ADDRESSES).map(latin1)],
  [1, fc.string({ maxLength: 12 }).map(latin1)],
);
const space = oneOf(["", "", "", " ", "\t", "  "]);
const path = (verb: string, who: fc.Arbitrary<string>) =>
  fc.tuple(space, who, oneOf(PARAMETERS)).map(([gap, name, rest]) => `${verb}:${gap}<${name}>${rest}`);
const command = weighted(
  [3, oneOf(COMMANDS)],
  [2, path("MAIL FROM", address)],
  [4, path("RCPT TO", address)],
  [1, fc.constant(`AUTH PLAIN ${base64(`\0${USER.name}\0${USER.password}`)}`)],
);

/** A command line, now and then with some of its octets replaced, or without its end. */
const commandLine = fc
  .record({
    text: command,
    at: fc.nat(60),
    removes: fc.nat(2),
    puts: oneOf([
      "\r",
      "\n",
      "\0",
      " ",
      ":",
      "<",
      ">",
      '"',
      "\xe4",
      ".",
      "\r\n",
      "x".repeat(4_090),
      "x".repeat(17_000),
    ]),
    isMutated: rarely(fc.constant(true), false),
    end: rarely(oneOf(["", "\n", "\r", "\r\r\n", " \r\n", "\r\n.\r\n"]), "\r\n"),
    waits: fc.boolean(),
  })
  .map(({ text, at, removes, puts, isMutated, end, waits }): Piece[] => {
    const place = at % (text.length + 1);
    const mutated = text.slice(0, place) + puts + text.slice(place + removes);
    return [{ octets: (isMutated ? mutated : text) + end, waits }];
  });

const body = fc
  .tuple(
    fc.array(oneOf(FRAGMENTS), { maxLength: 12, size: "max" }),
    rarely(oneOf(["z".repeat(9_000), `${"y".repeat(20_500)}\r\n`, "f:\r\n".repeat(1_005), "n\r\n".repeat(7_000)]), ""),
    fc.oneof({ weight: 3, arbitrary: fc.constant("") }, { weight: 1, arbitrary: oneOf(BARE) }),
    fc.array(oneOf(FRAGMENTS), { maxLength: 3 }),
    fc.oneof(
      { weight: 2, arbitrary: fc.constant("") },
      { weight: 1, arbitrary: oneOf(ENDS).map((end) => end + SMUGGLED) },
    ),
  )
  .map((parts) => parts.flat().join(""));

/** A transaction as a client has it: MAIL, RCPT, DATA alone or together, then the body; what stands behind it comes with it. */
const transaction = fc
  .record({
    from: path("MAIL FROM", fc.constantFrom("jira@b.test", "")),
    to: fc.array(path("RCPT TO", address), { minLength: 1, maxLength: 4 }),
    isPlain: rarely(fc.constant(false), true),
    isPipelined: fc.boolean(),
    body,
    end: rarely(oneOf(["", ".\r\n", "\r\n", "\r\n."]), "\r\n.\r\n"),
    waits: fc.boolean(),
  })
  .map(({ from, to, isPlain, isPipelined, body: content, end, waits }): Piece[] => {
    const lines = isPlain ? ["MAIL FROM:<jira@b.test>", "RCPT TO:<alice@b.test>", ...to] : [from, ...to];
    return [
      ...lines.map((line) => ({ octets: `${line}\r\n`, waits: !isPipelined })),
      { octets: "DATA\r\n", waits: true },
      { octets: content + end, waits },
    ];
  });

const login = fc.constantFrom<Piece[]>(
  [{ octets: `AUTH PLAIN ${base64(`\0${USER.name}\0${USER.password}`)}\r\n`, waits: true }],
  [
    { octets: "AUTH LOGIN\r\n", waits: true },
    { octets: `${base64(USER.name)}\r\n`, waits: true },
    { octets: `${base64(USER.password)}\r\n`, waits: true },
  ],
  [
    { octets: "AUTH PLAIN\r\n", waits: false },
    { octets: `${base64(`\0${USER.name}\0${USER.password}`)}\r\n`, waits: false },
  ],
);

const setup: fc.Arbitrary<Setup> = fc.record({
  lineEndings: fc.constantFrom("strict", "normalize"),
  tls: fc.constantFrom("off", "off", "off", "starttls"),
  isLoginRequired: fc.constantFrom(false, false, false, true),
  fault: fc.constantFrom("none", "none", "none", "none", "none", "none", "begin", "commit"),
  isEarly: rarely(fc.constant(true), false),
  end: fc.constantFrom("half-close", "half-close", "break"),
});

const usualOpening: Piece[] = [{ octets: "EHLO jira.example.com\r\n", waits: true }];
const junk = fc
  .constantFrom("NOOP\r\n", "XYZ\r\n", "EHLO x\r\n", "RCPT TO:<x\r\n")
  .map((line): Piece[] => [{ octets: line.repeat(101), waits: true }]);

/** Any conversation; most of them begin as they should, so that they come to something. */
export const dialogs: fc.Arbitrary<FuzzDialog> = fc
  .record({
    setup,
    opening: rarely(fc.constant<Piece[]>([]), usualOpening),
    login: rarely(fc.constant<Piece[]>([]), undefined).chain((none) =>
      none === undefined ? login : fc.constant(none),
    ),
    steps: fc.array(
      fc.oneof(
        { weight: 5, arbitrary: commandLine },
        { weight: 8, arbitrary: transaction },
        { weight: 1, arbitrary: rarely(junk, []) },
      ),
      { minLength: 1, maxLength: 9, size: "max" },
    ),
    cuts: fc.array(fc.nat(40_000), { maxLength: 16 }),
  })
  .map(({ setup: wishes, opening, login: credentials, steps, cuts }) => {
    const pieces = [...opening, ...(wishes.isLoginRequired ? credentials : []), ...steps.flat()];
    const segments = [""];
    for (const { octets, waits } of pieces) {
      segments.push((segments.pop() ?? "") + octets);
      if (waits) segments.push("");
    }
    const said = segments.filter((segment) => segment !== "");
    return { setup: { ...wishes, isEarly: wishes.isEarly && said.length > 0 }, segments: said, cuts };
  });
