// Evidence: each rule of inbound.evidence, for a signer who is the author and for one who is not.
import { generateKeyPairSync } from "node:crypto";
import { dkimSign } from "mailauth/lib/dkim/sign.js";
import { describe, expect, test } from "vitest";
import { evidenceFor, type EvidenceRule, type Signer } from "../../src/inbound/evidence.ts";
import { mailbox } from "../../src/mail/address.ts";
import { sizedBytes } from "../../src/mail/chunks.ts";
import { readHeader } from "../../src/mail/header.ts";

const NOW = Date.UTC(2029, 0, 1);
const author = mailbox("victim@corp.test");
const message = Buffer.from(
  "Authentication-Results: mx.corp.test; dmarc=pass header.from=corp.test\r\nFrom: Victim@corp.test\r\n\r\nhi\r\n",
);

const noDns = () => Promise.reject(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }));
const byResults = (authservId: string): EvidenceRule => ({ kind: "authentication-results", authservId });
const dmarc: EvidenceRule = { kind: "dmarc", resolve: noDns };
const signatureOnly: EvidenceRule = { kind: "signature-only" };

async function judge(
  rule: EvidenceRule,
  signer: Signer,
  from = author,
  bytes = message,
  teachesBy: "content-type" | "autocrypt" = "content-type",
) {
  const header = readHeader(bytes, true)!;
  const mail = { header, message: sizedBytes(bytes), author: from, signer, teachesBy };
  const belief = await evidenceFor(rule, mail, NOW, new AbortController().signal);
  return belief.believed ? belief.by : `not: ${belief.reason}`;
}

const chained: Signer = { kind: "smime", mailboxes: [author], hasCertificationPath: true };
const selfSigned: Signer = { kind: "smime", mailboxes: [author], hasCertificationPath: false };
const key: Signer = { kind: "pgp", mailboxes: [mailbox("other@corp.test"), mailbox("VICTIM@corp.test")] };

describe("signature-only", () => {
  test("HARV-01: a self-signed certificate with the author's address vouches for nothing", async () => {
    expect(await judge(signatureOnly, selfSigned)).toMatch(/^not: .*no certification path/);
  });

  test("a certificate with a certification path vouches for its mailbox", async () => {
    expect(await judge(signatureOnly, chained)).toBe("the signer's certification path");
  });

  test("HARV-03: an OpenPGP key is believed because the operator said so, and the evidence says that", async () => {
    expect(await judge(signatureOnly, key)).toBe("signature only, as inbound.evidence says");
  });
});

describe("the other rules", () => {
  test("results of the border MTA are believed for either kind of signature, those of another id are not", async () => {
    expect(await judge(byResults("mx.corp.test"), key)).toBe("dmarc=pass of mx.corp.test");
    expect(await judge(byResults("mx.corp.test"), chained)).toBe("dmarc=pass of mx.corp.test");
    expect(await judge(byResults("mx2.corp.test"), key)).toMatch(/^not: no results of/);
  });

  test.each([
    ["", false],
    ["DKIM-Signature: v=1; d=corp.test; h=from:to; b=x\r\n", false],
    ["DKIM-Signature: v=1; d=corp.test; h=from:\r\n Autocrypt : to; b=x\r\n", true],
    ["DKIM-Signature: h=from:autocrypt\r\nDKIM-Signature: h=from:to\r\n", false],
    ["DKIM-Signature: h=from:autocrypt; h=from\r\n", false],
  ])(
    "the border vouches for an Autocrypt field only if each DKIM signature covers it: %j",
    async (fields, isBelieved) => {
      const bytes = Buffer.from(message.toString("latin1").replace("From:", `${fields}From:`), "latin1");
      const said = await judge(byResults("mx.corp.test"), key, author, bytes, "autocrypt");
      expect(said).toBe(
        isBelieved ? "dmarc=pass of mx.corp.test" : "not: not every DKIM-Signature covers the Autocrypt field",
      );
    },
  );

  test("C3: by our own check the signature of the domain must cover Content-Type, unless a certification path vouches", async () => {
    const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const records: Record<string, string> = {
      "_dmarc.corp.test": "v=DMARC1; p=reject",
      "s1._domainkey.corp.test": `v=DKIM1; p=${publicKey.export({ type: "spki", format: "der" }).toString("base64")}`,
    };
    const resolve = (name: string) => {
      const record = records[name];
      return record === undefined ? noDns() : Promise.resolve([record.match(/.{1,255}/g) ?? []]);
    };
    const text = "From: Victim@corp.test\r\nContent-Type: text/plain\r\n\r\nhi\r\n";
    const one = {
      ...{ signingDomain: "corp.test", selector: "s1", headerList: ["from"] },
      privateKey: privateKey.export({ type: "pkcs8", format: "pem" }),
    };
    const { signatures } = await dkimSign(text, { ...one, signTime: NOW, signatureData: [one] });
    const bytes = Buffer.from(signatures + text);
    const rule: EvidenceRule = { kind: "dmarc", resolve };
    expect(await judge(rule, key, author, bytes)).toMatch(/^not: .*does not cover content-type/);
    expect(await judge(rule, selfSigned, author, bytes)).toMatch(/^not: .*does not cover content-type/);
    expect(await judge(rule, chained, author, bytes)).toMatch(/^own check: dmarc=pass/);
  });

  test("HARV-03: a mail without DKIM teaches nothing when the check is our own", async () => {
    expect(await judge(dmarc, key)).toMatch(/^not: dmarc=none/);
  });
});

test.each([
  ["signature-only, smime", signatureOnly, { ...chained, mailboxes: [mailbox("attacker@evil.test")] }],
  ["signature-only, pgp", signatureOnly, { ...key, mailboxes: [mailbox("attacker@evil.test")] }],
  ["authentication-results", byResults("mx.corp.test"), { ...key, mailboxes: [mailbox("attacker@corp.test")] }],
  ["authentication-results, no mailbox", byResults("mx.corp.test"), { ...key, mailboxes: [] }],
  ["dmarc", dmarc, { ...chained, mailboxes: [mailbox("victim@corp.test.evil")] }],
] satisfies [string, EvidenceRule, Signer][])(
  "HARV-02, HARV-26: a signer who is not the author is not believed under %s",
  async (_, rule, signer) => {
    expect(await judge(rule, signer)).toBe("not: the author is not a mailbox of the signer");
  },
);
