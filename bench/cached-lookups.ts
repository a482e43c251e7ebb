// Look-ups that are answered from memory: one source, and the whole chain with personal keys in a real database before it.
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../src/clock.ts";
import { cachedSource } from "../src/keys/cached-source.ts";
import { createChain } from "../src/keys/chain.ts";
import { found } from "../src/keys/lookup.ts";
import type { KeySource } from "../src/keys/source.ts";
import type { SmimeKey } from "../src/keys/recipient-key.ts";
import { mailbox } from "../src/mail/address.ts";
import { smimeSources } from "../src/sources/precedence.ts";
import { openStore } from "../src/store/open.ts";
import { certificateOf } from "../test/keys-of.ts";

const ADDRESSES = 1_000;
const ROUNDS = 20;
const GOAL_MICROSECONDS = 50;

const folder = mkdtempSync(join(tmpdir(), "sealpost-bench-"));
const store = await openStore({ dataDir: folder, secretKeyFile: join(folder, "key") }, systemClock);
const never = new AbortController().signal;
let asked = 0;
const server: KeySource<SmimeKey> = {
  name: "ldap",
  find: () => {
    asked += 1;
    return Promise.resolve(found([certificateOf("alice")]));
  },
  probe: () => Promise.resolve({ ok: true, detail: "" }),
};
const ldap = cachedSource(server, {
  cache: store.cache,
  shelf: { source: "ldap", kind: "smime", settings: "bench" },
  times: { ttlMs: 3_600_000, absentTtlMs: 3_600_000 },
  clock: systemClock,
  isFit: () => true,
  cacheFailed: (cause) => {
    throw cause;
  },
});
const uploads = { users: true, customers: false, people: undefined };
const chain = createChain<SmimeKey>(
  "smime",
  smimeSources({
    personalKeys: store.personalKeys,
    smime: { uploads, incoming: true, keyStore: undefined, userDirectories: [], ldap },
    pgp: { uploads, incoming: true, keyStore: undefined, keyServer: undefined, wkd: undefined, autocrypt: false },
  }),
  { minRsaBits: 2048 },
  systemClock,
  8_000,
);

/** Microseconds for one look-up, the median of the rounds. */
async function median(lookUp: (index: number) => Promise<unknown>): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const since = performance.now();
    for (let index = 0; index < ADDRESSES; index++) await lookUp(index);
    times.push(((performance.now() - since) * 1_000) / ADDRESSES);
  }
  return times.sort((a, b) => a - b)[ROUNDS / 2] ?? 0;
}

let missed = 0;
try {
  const people = Array.from({ length: ADDRESSES }, (_, index) => mailbox(`user${index}@example.com`));
  const cold = performance.now();
  for (const person of people) await ldap.find(person, never);
  const first = ((performance.now() - cold) * 1_000) / ADDRESSES;
  console.log(`Node ${process.version}, ${cpus().length} cores; ${ADDRESSES} addresses, medians of ${ROUNDS} rounds`);
  console.log(`first look-up, written to the database (fsync): ${first.toFixed(0)} µs`);
  const memory = await median((index) => ldap.find(people[index]!, never));
  if (memory > GOAL_MICROSECONDS) missed += 1;
  console.log(`from memory: ${memory.toFixed(1)} µs (goal ${GOAL_MICROSECONDS})`);
  const whole = await median((index) => chain.resolve(people[index]!, never));
  console.log(`whole chain, two questions to the database before it: ${whole.toFixed(1)} µs`);
  if (asked !== ADDRESSES) missed += 1;
  console.log(`the server was asked ${asked} times (goal ${ADDRESSES})`);
} finally {
  await store.close();
  rmSync(folder, { recursive: true });
}
process.exitCode = missed > 0 ? 1 : 0;
