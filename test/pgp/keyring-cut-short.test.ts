// Files of keys that end within a key, as one that is being written does: what is missing of them must not look absent.
import { describe, expect, test } from "vitest";
import { decodeArmor } from "../../src/pgp/armor.ts";
import { readKeybox } from "../../src/pgp/keybox.ts";
import { readKeyring } from "../../src/pgp/keyring.ts";
import { readPacket, writePacket } from "../../src/pgp/packets.ts";
import { splitRing } from "../../src/pgp/ring.ts";
import { fixtureBytes } from "../fixtures.ts";
import { gnupgHome } from "./gnupg.ts";
import { NOW } from "./fixture-keys.ts";

const CUT_SHORT =
  /^the file is cut short: .*; write the keys to a new file and rename that to this one when it is whole$/;
/** The number of certificates, or why the file is unreadable. */
const said = async (bytes: Uint8Array) => {
  const contents = await readKeyring(bytes, NOW);
  return contents.kind === "ring" ? contents.certificates.length : contents.reason;
};
const small = Buffer.concat([fixtureBytes("pgp/bob.gpg"), fixtureBytes("pgp/joe.gpg")]);
const keys = [...splitRing(small)];

describe("CONF-35: a binary ring", () => {
  const boundaries = new Set<number>();
  for (let at = 0; at < small.length;) {
    const packet = readPacket(small, at);
    at = "fault" in packet ? small.length : packet.end;
    boundaries.add(at);
  }

  test("that ends within any packet of its last key is unreadable", () => {
    const within = Array.from({ length: small.length }, (_, at) => at).slice((keys[1]?.start ?? 0) + 1);
    const missed = within.filter((at) => {
      const last = [...splitRing(small.subarray(0, at))].at(-1);
      return !boundaries.has(at) && !(last?.kind === "fault" && last.isCutShort === true);
    });
    expect(missed).toEqual([]);
  });

  test("is said to be so, and a whole one is read", async () => {
    const second = keys[1]?.start ?? 0;
    for (const end of [second + 1, second + 5, second + 60, small.length - 40, small.length - 1])
      expect(await said(small.subarray(0, end))).toMatch(CUT_SHORT);
    expect(await said(small)).toBe(2);
    expect(await said(small.subarray(0, second))).toBe(1);
  });

  test("with a broken key in the middle is read without that key", async () => {
    const middle = keys[0]?.end ?? 0;
    const [first, second] = [small.subarray(0, middle - 30), small.subarray(middle)];
    expect(await said(Buffer.concat([first, second]))).toBe(1);
    expect(await said(Buffer.concat([small.subarray(0, middle), Buffer.from("notes\n"), second]))).toBe(2);
  });

  test("with octets behind it that begin no packet is read", async () => {
    expect(await said(Buffer.concat([small, Buffer.from("\r\n")]))).toBe(2);
  });
});

describe("CONF-35: an armored file", () => {
  const home = gnupgHome(false);
  const armor = (() => {
    try {
      return keys.map(({ start, end }) => home.run(["--enarmor"], small.subarray(start, end)).stdout.toString());
    } finally {
      home.close();
    }
  })()
    .map((text) => text.replaceAll("PGP ARMORED FILE", "PGP PUBLIC KEY BLOCK"))
    .join("");

  test("that ends at any octet but between two blocks is cut short", () => {
    const marked = (end: number) => decodeArmor(armor.slice(0, end)).isCutShort;
    const begins = [...armor.matchAll(/^-----BEGIN.*$/gm)].map(({ index }) => index);
    const ends = [...armor.matchAll(/^-----END.*$/gm)].map(({ index, 0: line }) => index + line.length);
    expect([begins.length, ends.length]).toEqual([2, 2]);
    const isWhole = (end: number) => end === 0 || ends.some((one, at) => end >= one && end <= (begins[at + 1] ?? 1e9));
    const wrong = Array.from({ length: armor.length + 1 }, (_, end) => end).filter(
      (end) => marked(end) === isWhole(end),
    );
    expect(wrong).toEqual([]);
  });

  test("is said to be so, also without a checksum and with CRLF", async () => {
    const plain = armor.replace(/^=.*\n/gm, "");
    for (const text of [armor, plain, armor.replaceAll("\n", "\r\n")]) {
      expect(await said(Buffer.from(text))).toBe(2);
      for (const short of [300, 30, 10]) expect(await said(Buffer.from(text.slice(0, -short)))).toMatch(CUT_SHORT);
    }
  });

  test("of sixteen keys in one block that is half there is unreadable", async () => {
    const all = fixtureBytes("pgp/all.asc");
    expect(await said(all.subarray(0, all.length / 2))).toMatch(CUT_SHORT);
  });

  test("with a block without END line before another one is read without what is missing", async () => {
    const [first = "", second = ""] = armor.split(/(?<=KEY BLOCK-----\n)(?=-----BEGIN)/);
    expect(second).toContain("-----END");
    expect(await said(Buffer.from(`${first.slice(0, -60)}\n${second}`))).toBeGreaterThanOrEqual(1);
  });

  test("whose last line is a rule, and one without a last line end, are read", async () => {
    for (const text of [`${armor}-----\n`, armor.trimEnd(), `${armor}-- \nregards\n`])
      expect(await said(Buffer.from(text))).toBe(2);
  });
});

describe("CONF-35: a keybox", () => {
  const box = fixtureBytes("pgp/pubring-deleted-and-x509.kbx");
  const ends: number[] = [];
  for (let at = 0; at < box.length; ends.push(at)) at += box.readUInt32BE(at);

  test("that ends within a blob is unreadable, wherever that is", async () => {
    const last = ends.at(-2) ?? 0;
    for (const end of [last + 1, last + 4, last + 5, last + 40, box.length - 1]) {
      expect(readKeybox(box.subarray(0, end)).isCutShort).toBe(true);
      expect(await said(box.subarray(0, end))).toMatch(CUT_SHORT);
    }
    for (const end of ends) expect(readKeybox(box.subarray(0, end)).isCutShort).toBe(false);
  });

  test("with a wrong length in the middle is read without that blob", () => {
    const damaged = Buffer.from(box);
    damaged.writeUInt32BE(0xffff_ffff, ends[0] ?? 0);
    expect(readKeybox(damaged).isCutShort).toBe(false);
  });
});

test("a key that swallows the end of the file is not taken for a whole one", async () => {
  const huge = writePacket(13, Buffer.alloc(5_000, 0x61)).subarray(0, 300);
  expect(await said(Buffer.concat([small, huge]))).toMatch(CUT_SHORT);
});
