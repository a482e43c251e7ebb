// Random mails: MIME trees of every shape, well-formed or not, that any program could hand in; the same for the same random numbers.
import { createCipheriv } from "node:crypto";
import { between, weighted, type Random } from "../crash/random.ts";

const pick = <T>(random: Random, choices: readonly T[]): T => choices[between(random, 0, choices.length - 1)]!;

const MEDIA = [
  ...["text/plain", "text/html; charset=utf-8", 'TEXT/PLAIN;charset="iso-8859-1"', "application/octet-stream"],
  ...['application/pdf;\r\n\tname="a b.pdf"', "text/calendar; method=REQUEST", "image/png", "message/rfc822", "x/y; z"],
];
const ENCODINGS = ["7bit", "8bit", "quoted-printable", "base64", "BASE64", "binary", "x-unknown"];
const WORDS = ["", ".", "..", "-- ", "From me", "--", "=", "=20", "Größe", "\x01", "a b\tc", "\xff\xfe"];

/** Fields that stay outside, or go away, or only with a hidden subject. */
const OTHERS = [
  ...[
    "Thread-Topic: t",
    "X-Anything: x",
    "List-Id: <l.example.com>",
    "list-: odd",
    "Precedence: bulk",
    "References: <r@x>",
  ],
  ...["Bcc: <hidden@example.com>", "Resent-Bcc: <hidden@example.com>", "Return-Path: <>", "DKIM-Signature: v=1; b=AA"],
  ...["Received: from a.corp by b.corp;\r\n Tue, 24 Nov 2026 10:00:00 +0000", "Keywords : k", "Cc:"],
];

/** Octets of which lines are cut: printable ASCII, letters, and beyond ASCII. */
const NOISE = [0x20, 0x41, 0x80].map((first) => {
  const octets = createCipheriv("aes-128-ctr", Buffer.alloc(16, first), Buffer.alloc(16)).update(Buffer.alloc(65_536));
  return Buffer.from(octets.map((octet) => first + (octet & 0x3f))).toString("latin1");
});

/** A line of latin1 octets without CR, LF and NUL. */
function line(random: Random): string {
  const length = weighted(random, [
    [30, between(random, 0, 76)],
    [3, between(random, 77, 998)],
    [1, between(random, 999, 4_000)],
  ]);
  if (random() < 0.3) return pick(random, WORDS);
  const noise = pick(random, NOISE);
  const from = between(random, 0, noise.length - length);
  return noise.slice(from, from + length);
}

function text(random: Random): string {
  const lines = weighted(random, [
    [20, between(random, 0, 12)],
    [1, between(random, 200, 1_200)],
  ]);
  return Array.from({ length: lines }, () => `${line(random)}\r\n`).join("");
}

/** Content fields in any order, spelling and number, none of them too. */
function contentFields(random: Random, type: string): string[] {
  const name = (written: string) => pick(random, [written, written.toLowerCase(), written.toUpperCase()]);
  const fields = [
    `${name("Content-Type")}:${pick(random, [" ", "", "\r\n ", "\t"])}${type}\r\n`,
    `${name("Content-Transfer-Encoding")}: ${pick(random, ENCODINGS)}\r\n`,
    `${name("Content-Disposition")}: attachment;\r\n filename*=utf-8''%e2%82%ac.txt\r\n`,
    `${name("Content-ID")}: <${between(random, 1, 1e9)}@x>\r\n`,
    `${name("Content-Description")}: ${line(random).slice(0, 60)}\r\n`,
  ];
  return shuffled(
    random,
    fields.filter((_, index) => random() < (index === 0 ? 0.95 : 0.4)),
  );
}

function shuffled<T>(random: Random, all: readonly T[]): T[] {
  return all
    .map((one) => [random(), one] as const)
    .sort(([a], [b]) => a - b)
    .map(([, one]) => one);
}

type Entity = { readonly fields: readonly string[]; readonly body: string };

/** One entity, `depth` levels deep at most. */
function entity(random: Random, depth: number): Entity {
  if (depth === 0 || random() < 0.35) return { fields: contentFields(random, pick(random, MEDIA)), body: text(random) };
  const boundary = pick(random, ["b", "=_x", "--", "'()+_,-./:=?", `n${between(random, 1, 1e9)}`]);
  const kind = pick(random, ["mixed", "alternative", "related", "report", "signed"]);
  const parts = Array.from({ length: between(random, 0, 4) }, () => {
    const { fields, body } = entity(random, depth - 1);
    return `--${boundary}\r\n${fields.join("")}\r\n${body}${random() < 0.8 ? "\r\n" : ""}`;
  });
  const close = random() < 0.9 ? `--${boundary}--\r\n` : "";
  const around = () => (random() < 0.3 ? text(random) : "");
  return {
    fields: contentFields(random, `multipart/${kind}; boundary="${boundary}"`),
    body: `${around()}${parts.join("")}${close}${around()}`,
  };
}

/** A whole mail with this Message-ID to this address, its fields in any order; every line ends with CRLF. */
export function randomMail(random: Random, { id, to, project }: { id: string; to: string; project: string }): Buffer {
  const { fields, body } = entity(random, 4);
  const others = [
    `Message-ID: <${id}@jira.example.com>\r\n`,
    "From: jira@example.com\r\n",
    `To: ${to}\r\n`,
    `Subject: [JIRA] (${project}-1) ${id}\r\n`,
    "MIME-Version: 1.0\r\n",
    ...OTHERS.filter(() => random() < 0.3).map((field) => `${field}\r\n`),
  ];
  return Buffer.from(`${shuffled(random, [...fields, ...others]).join("")}\r\n${body}`, "latin1");
}
