// Harvest, with its store and clock in the test's hands: what it does with keys by anybody, and what it still does when it is late.
import { afterAll, describe, expect, test } from "vitest";
import { harvest, type HarvestParts } from "../../src/inbound/harvest.ts";
import type { PersonalKey } from "../../src/keys/personal-keys.ts";
import { pgpKey } from "../../src/keys/recipient-key.ts";
import { mailbox } from "../../src/mail/address.ts";
import { writePacket } from "../../src/pgp/packets.ts";
import { fixtureCertificates, NOW } from "../pgp/fixture-keys.ts";
import { gnupgHome } from "../pgp/gnupg.ts";
import { certificateOf } from "../keys-of.ts";
import { exportedKeys, pgpSignedMail } from "../pgp/signed-mail.ts";
import { clearSignedMail, fixtureSigner, opensslSign, textEntity } from "../smime/signed-mail.ts";
import { harvestOverStore, leased, revokedKey } from "./harvest-stage.ts";

const ANN = mailbox("alice@example.com");
const home = gnupgHome(true);
afterAll(() => home.close());
const certificate = (await fixtureCertificates()).get("alice")!;
const own: PersonalKey = {
  ...{ address: ANN.address, key: pgpKey(certificate), origin: "incoming", addedAt: NOW, signedAt: NOW },
};

/** Parts that write down what is told and kept; nobody holds a key unless `parts` say so. */
function stage(parts: Partial<HarvestParts> = {}) {
  const happened: string[] = [];
  const whole = {
    evidence: { kind: "signature-only" },
    policy: { minRsaBits: 2048 },
    personalKeys: {
      find: () => Promise.resolve([]),
      learn: () => Promise.resolve(happened.push("kept") > 0),
    },
    harvested: {
      ...{ of: () => Promise.resolve([]), remove: () => Promise.resolve(true) },
      holders: (fingerprint: string) => Promise.resolve(fingerprint === certificate.fingerprint ? [ANN] : []),
      keep: () => Promise.resolve(happened.push("kept") > 0 ? "kept" : "full"),
    },
    tries: { begin: () => 1, done: () => undefined },
    observe: {
      happened: (event: string, { reason }: { reason?: string }) => happened.push(`${event} ${reason ?? ""}`.trim()),
      failed: (cause: Error) => happened.push(`failed ${cause.message}`),
    },
    isKnown: () => Promise.resolve(true),
    sleep: () => new Promise(() => undefined),
    now: () => NOW,
    ...parts,
  } as unknown as HarvestParts;
  return { parts: whole, happened };
}

const signed = () =>
  pgpSignedMail(home, {
    ...{ from: ANN.address, signer: certificate.fingerprint, signedAt: NOW },
    keys: [exportedKeys(home, [certificate.fingerprint], "armored")],
  });
/** Signed by nobody; these keys come along. */
const bringing = (keys: readonly Uint8Array[]) =>
  Buffer.from(
    `From: ${ANN.address}\r\nContent-Type: multipart/signed; protocol="application/pgp-signature"; boundary=q\r\n\r\n--q\r\n` +
      "Content-Type: application/pgp-keys\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
      `${Buffer.concat(keys).toString("base64")}\r\n--q\r\nContent-Type: application/pgp-signature\r\n\r\nx\r\n--q--\r\n`,
  );

describe("H1: a revocation among keys that anybody sent", () => {
  const revoked = revokedKey(certificate);
  const holdsOwn = {
    find: () => Promise.resolve([own]),
    learn: () => Promise.resolve(true),
  } as unknown as HarvestParts["personalKeys"];
  const resultOf = async (keys: readonly Uint8Array[]) => {
    let merges = 0;
    const { parts, happened } = stage({ personalKeys: holdsOwn, now: () => ((merges += 1), NOW) });
    await harvest(leased(bringing(keys)), parts);
    return { isTaken: happened.some((event) => event.startsWith("learned")), merges };
  };
  /** The key with something behind it that its owner has not signed. */
  const variant = (n: number) => Buffer.concat([certificate.bytes, writePacket(13, Buffer.from(`x${n}@example.com`))]);
  const many = <T>(count: number, make: (n: number) => T) => Array.from({ length: count }, (_, n) => make(n));

  test("is found behind other keys and any number of the same copy, which cost nothing", async () => {
    const bob = exportedKeys(home, ["bob@example.com"], "binary");
    expect(await resultOf([revoked])).toMatchObject({ isTaken: true });
    const { isTaken, merges } = await resultOf([
      ...many(300, () => certificate.bytes),
      ...many(30, () => bob),
      revoked,
    ]);
    expect(isTaken).toBe(true);
    expect(merges).toBeLessThan(10);
  });

  test("is looked for in twenty different copies at most", async () => {
    expect((await resultOf([...many(19, variant), revoked])).isTaken).toBe(true);
    const { isTaken, merges } = await resultOf([...many(400, variant), revoked]);
    expect(isTaken).toBe(false);
    expect(merges).toBeLessThan(30);
  });
});

describe("H1: what is not done within two seconds", () => {
  /** A thing that is waited for until the harvest has been given up. */
  const lateAnswer = () => {
    const answer = Promise.withResolvers<unknown>();
    const asked = Promise.withResolvers<undefined>();
    const sleep = () => asked.promise;
    const ask = () => {
      asked.resolve(undefined);
      return answer.promise;
    };
    return { ask, sleep, resolve: (value: unknown) => answer.resolve(value) };
  };
  const settled = () => new Promise((resolve) => setTimeout(resolve, 100));

  test("is neither kept nor told when it is done later", async () => {
    const late = lateAnswer();
    const policy = { minRsaBits: 2048, ready: late.ask as () => Promise<void> };
    const { parts, happened } = stage({ policy, sleep: late.sleep });
    expect(await harvest(leased(signed()), parts)).toEqual([]);
    expect(happened).toEqual(["seen", "ignored took-too-long"]);
    late.resolve(undefined);
    await settled();
    expect(happened).toEqual(["seen", "ignored took-too-long"]);
    // the same in time
    const inTime = stage();
    await harvest(leased(signed()), inTime.parts);
    expect(inTime.happened).toContain("kept");
  });

  test("is not Jira's answer: a key that it is too slow to know waits for its user", async () => {
    const late = lateAnswer();
    const sleep = (delayMs: number) => (delayMs < 2_000 ? late.sleep() : new Promise<never>(() => undefined));
    const { parts, happened } = stage({ isKnown: late.ask as HarvestParts["isKnown"], sleep });
    await harvest(leased(signed()), parts);
    expect(happened).toEqual(["seen", "kept", "deferred signature only, as inbound.evidence says"]);
    late.resolve(true);
    await settled();
    expect(happened).toHaveLength(3);
  });

  test("is not begun any more: no copy of a key is looked into", async () => {
    const late = lateAnswer();
    let turns = 0;
    const { parts, happened } = stage({
      ...{ personalKeys: { find: late.ask } as never, sleep: late.sleep, now: () => ((turns += 1), NOW) },
    });
    await harvest(leased(bringing([revokedKey(certificate)])), parts);
    const before = turns;
    late.resolve([own]);
    await settled();
    expect([turns, happened.at(-1)]).toEqual([before, "ignored took-too-long"]);
  });
});

test("HARV-12: a signature without a signing time counts as old as its certificate, and is no newer than the key we hold", async () => {
  const byAlice = (name: string, ...options: readonly string[]) => {
    const entity = textEntity();
    return leased(
      clearSignedMail({ from: ANN.address }, entity, opensslSign(entity, { by: fixtureSigner(name), options })),
    );
  };
  const { parts, happened, personalKeys } = await harvestOverStore(new Set([ANN.key]));
  // openssl signs by its own clock
  const learning = { ...parts, now: Date.now, policy: { ...parts.policy, path: () => ({ trusted: true }) as never } };
  await harvest(byAlice("alice", "-noattr"), learning);
  const [first] = await personalKeys.list();
  expect(first).toMatchObject({ signedAt: certificateOf("alice").certificate.notBefore });
  await harvest(byAlice("alice-new"), learning);
  await harvest(byAlice("alice", "-noattr"), learning);
  const told = ["learned new", "learned renewal", "ignored older-than-held"];
  expect(happened).toEqual(told.map((one) => one.replace(" ", ` ${ANN.address} `)));
});
