// Prepare: a key that cannot be encrypted to, a recipient's or the sender's, and who gets the mail all the same.
import { expect, test } from "vitest";
import type { Ciphers } from "../../src/encrypt/cipher.ts";
import { pgpMimeCipher } from "../../src/encrypt/pgp-mime.ts";
import { departuresHere } from "../../src/delivery/departures.ts";
import { work } from "../../src/delivery/work.ts";
import { smimeCipher } from "../../src/encrypt/smime.ts";
import { createChain } from "../../src/keys/chain.ts";
import { absent, found } from "../../src/keys/lookup.ts";
import type { PgpKey, SmimeKey } from "../../src/keys/recipient-key.ts";
import type { KeySource } from "../../src/keys/source.ts";
import { mailbox } from "../../src/mail/address.ts";
import { sizedBytes } from "../../src/mail/chunks.ts";
import type { PrepareParts } from "../../src/outbound/prepare.ts";
import type { Sender, Transaction } from "../../src/smtp/sender.ts";
import type { Spool } from "../../src/spool/spool.ts";
import { LEASED, workParts } from "../delivery/work-parts.ts";
import { certificateOf, FIXTURE_TIME } from "../keys-of.ts";
import { manualClock } from "../manual-clock.ts";

const never = new AbortController().signal;
const NAMES = ["alice", "dave", "quinn"] as const;
type Name = (typeof NAMES)[number];
const keys = Object.fromEntries(NAMES.map((name) => [`${name}@example.com`, certificateOf(name)]));
const store: KeySource<SmimeKey> = {
  name: "keystore",
  isKeptHere: true,
  find: ({ address }) => Promise.resolve(keys[address] === undefined ? absent : found([keys[address]])),
  probe: () => Promise.resolve({ ok: true, detail: "" }),
};

/** Mail of quinn to alice and dave; nobody can encrypt to the keys of `broken`. Gives who gets it in which transaction. */
async function sentWith(broken: readonly Name[]) {
  const clock = manualClock(FIXTURE_TIME);
  const policy = { minRsaBits: 2048 };
  const real = smimeCipher({ contentEncryption: "aes256-cbc", keyTransport: "rsa-pkcs1" });
  const readersOf: string[] = [];
  const cipher: Ciphers["smime"] = {
    kind: "smime",
    encrypt(split, readers) {
      const names = readers.map((key) => NAMES.find((name) => keys[`${name}@example.com`] === key)!);
      if (names.some((name) => broken.includes(name))) return Promise.reject(new Error("not with this key"));
      readersOf.push(names.join("+"));
      return real.encrypt(split, readers);
    },
  };
  const stopped: string[] = [];
  const parts: PrepareParts = {
    chains: {
      smime: createChain("smime", [store], policy, clock, 8_000),
      pgp: createChain<PgpKey>("pgp", [], policy, clock, 8_000),
    },
    settings: {
      base: { type: "smime-only", fallback: "block", holdMs: 0, subject: "keep", recoveryMail: "encrypt" },
      ...{ rules: [], plusAddress: "exact", toSender: true },
    },
    fitness: policy,
    senderKeys: { smime: store, pgp: undefined },
    observe: { decided: () => undefined, lookedUp: () => undefined, stopped: () => undefined },
    now: () => clock.now(),
  };
  const recipients = ["alice", "dave"].map((name) => mailbox(`${name}@example.com`));
  const message = "From: quinn@example.com\r\nTo: alice@example.com, dave@example.com\r\nSubject: x\r\n\r\ntext\r\n";
  const ends: string[] = [];
  const settle: Spool["settle"] = (_lease, outcomes) => {
    const waits = outcomes.filter(({ state }) => state === "queued").map(({ index }) => recipients[index]!.local);
    ends.push(...waits.map((name) => `${name} waits`));
    return Promise.resolve({ stored: [], leaseLost: false });
  };
  const all = workParts(settle, [], []);
  const sender = {
    send: ({ recipients: readers }: Transaction) => {
      ends.push(`${readers.map((one) => one.mailbox.local).join("+")} sent`);
      const results = readers.map((one) => ({ mailbox: one.mailbox, outcome: "delivered", reply: "250 ok" }) as const);
      return Promise.resolve({ kind: "transaction", results } as const);
    },
  } as unknown as Sender;
  const ciphers = { smime: cipher, pgp: pgpMimeCipher() };
  await work(
    {
      ...{ ...LEASED, envelope: { ...LEASED.envelope, class: "mail" } },
      ...{ allRecipients: recipients, content: sizedBytes(Buffer.from(message)) },
      due: recipients.map((one, index) => ({ ...LEASED.due[0]!, index, mailbox: one })),
    },
    {
      ...{ ...all, spool: { ...all.spool, keepDelivered: () => Promise.resolve() }, prepare: parts },
      departures: departuresHere({ ciphers, sender, now: () => clock.now() }),
      retry: { firstMs: 1, factor: 1, maxMs: 1, giveUpMs: 1e9 },
      observe: {
        ...all.observe,
        stopped: (_, { length }, { message: why }) => void stopped.push(`${length}: ${why}`),
      },
    },
    never,
  );
  return { ends, readersOf, stopped };
}

test.each<[string, readonly Name[], readonly string[], readonly string[]]>([
  ["no key", [], ["alice+dave sent"], ["alice+dave+quinn"]],
  ["one recipient's key", ["alice"], ["dave sent", "alice waits"], ["dave+quinn"]],
  ["the sender's key", ["quinn"], ["alice sent", "dave sent"], ["alice", "dave"]],
  ["the keys of one and of the sender", ["dave", "quinn"], ["alice sent", "dave waits"], ["alice"]],
])(
  "when %s cannot be encrypted to, the others get their mail, and the sender reads along where that is possible",
  async (_, broken, ends, readers) => {
    const sent = await sentWith(broken);
    expect(sent.ends).toEqual(ends);
    expect(sent.readersOf).toEqual(readers);
    if (broken.length === 0) expect(sent.stopped).toEqual([]);
    else expect(sent.stopped[0]).toBe("2: not with this key");
  },
);
