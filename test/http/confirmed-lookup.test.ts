// A host that the C library says is not there: only when the DNS, asked again, says so of both kinds of addresses.
import { createSocket, type Socket } from "node:dgram";
import { promises } from "node:dns";
import { once } from "node:events";
import { afterAll, beforeAll, expect, test } from "vitest";
import { NoSuchHost } from "../../src/http/http-fault.ts";
import { httpGet } from "../../src/http/http-get.ts";
import { confirmedLookup, type AddressLookup } from "../../src/http/public-address.ts";

/** What a question is answered with: an error code (RFC 1035 4.1.1), an address, or nothing at all. */
type Word = "empty" | "none" | "servfail" | "refused" | "address" | "silence";
const CODES = { empty: 0, address: 0, servfail: 2, none: 3, refused: 5 } as const;
const A = 1;

let dns: Socket;
let words: Readonly<Record<"A" | "AAAA", Word>>;
const asked: string[] = [];
beforeAll(async () => {
  dns = createSocket("udp4");
  dns.on("message", (question, { port, address }) => {
    const end = question.indexOf(0, 12) + 5;
    const kind = question.readUInt16BE(end - 4) === A ? "A" : "AAAA";
    asked.push(`${kind} ${question.toString("latin1", 13, end - 5)}`);
    const word = words[kind];
    if (word === "silence") return;
    const answer = Buffer.from(question.subarray(0, end));
    answer.writeUInt16BE(0x8180 | CODES[word], 2);
    answer.writeUInt16BE(word === "address" ? 1 : 0, 6);
    answer.fill(0, 8, 12);
    const record =
      kind === "A" ? "c00c00010001000000050004 08080808" : `c00c001c0001000000050010 2606470047${"0".repeat(21)}1`;
    const records = word === "address" ? [Buffer.from(record.replace(" ", ""), "hex")] : [];
    dns.send(Buffer.concat([answer, ...records]), port, address);
  });
  dns.bind(0, "127.0.0.1");
  await once(dns, "listening");
});
afterAll(async () => {
  dns.close();
  await once(dns, "close");
});

const absentee: AddressLookup = (hostname, _options, done) =>
  done(Object.assign(new Error("not found"), { code: "ENOTFOUND", syscall: "getaddrinfo", hostname }), []);
const resolver = () => {
  const own = new promises.Resolver({ timeout: 200, tries: 1 });
  own.setServers([`127.0.0.1:${dns.address().port}`]);
  return own;
};
const codeOf = (lookup: AddressLookup, host: string) =>
  new Promise((resolve) => lookup(host, { all: true }, (error, found) => resolve(error?.code ?? found)));

test.each<[Word, Word, "ENOTFOUND" | "EAI_AGAIN"]>([
  ["none", "none", "ENOTFOUND"],
  ["empty", "empty", "ENOTFOUND"],
  ["none", "empty", "ENOTFOUND"],
  ["servfail", "empty", "EAI_AGAIN"],
  ["refused", "empty", "EAI_AGAIN"],
  ["empty", "servfail", "EAI_AGAIN"],
  ["empty", "refused", "EAI_AGAIN"],
  ["none", "servfail", "EAI_AGAIN"],
  ["empty", "silence", "EAI_AGAIN"],
  ["silence", "empty", "EAI_AGAIN"],
  ["address", "servfail", "EAI_AGAIN"],
  ["empty", "address", "EAI_AGAIN"],
])("WKD: of a host that is not there, IPv4 %s and IPv6 %s in the DNS: %s", async (ipv4, ipv6, code) => {
  words = { A: ipv4, AAAA: ipv6 };
  expect(await codeOf(confirmedLookup(absentee, resolver), "openpgpkey.nosuch.test.")).toBe(code);
});

test("the DNS is asked for that name only, and only when there is no such host", async () => {
  words = { A: "none", AAAA: "none" };
  asked.length = 0;
  const there: AddressLookup = (_host, _options, done) => done(null, [{ address: "8.8.8.8", family: 4 }]);
  expect(await codeOf(confirmedLookup(there, resolver), "a.test")).toEqual([{ address: "8.8.8.8", family: 4 }]);
  expect(asked).toEqual([]);
  expect(await codeOf(confirmedLookup(absentee, resolver), "b.test.")).toBe("ENOTFOUND");
  expect(asked.sort()).toEqual(["A b\x04test", "AAAA b\x04test"]);
});

test.each<[Word, boolean]>([
  ["none", true],
  ["servfail", false],
])(
  "a GET says that there is no such host only when IPv6 in the DNS is %s as IPv4 is none: %s",
  async (ipv6, isNone) => {
    words = { A: "none", AAAA: ipv6 };
    const get = httpGet({ proxy: "none", publicOnly: true, lookup: confirmedLookup(absentee, resolver) });
    const fault: unknown = await get(new URL("https://openpgpkey.nosuch.test/"), new AbortController().signal).catch(
      (cause: unknown) => cause,
    );
    await get.close();
    expect(fault instanceof NoSuchHost).toBe(isNone);
    expect(String(fault)).toContain(
      isNone ? "no such host openpgpkey.nosuch.test" : "openpgpkey.nosuch.test cannot be resolved now (EAI_AGAIN)",
    );
  },
);
