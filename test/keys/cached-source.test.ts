import { describe, expect, test } from "vitest";
import { cachedSource, SourceAtRest } from "../../src/keys/cached-source.ts";
import type { CacheReading, KeptAnswer, KeyCache } from "../../src/keys/key-cache.ts";
import { absent, failed, found } from "../../src/keys/lookup.ts";
import type { RecipientKey, SmimeKey } from "../../src/keys/recipient-key.ts";
import type { Answer, KeySource } from "../../src/keys/source.ts";
import { mailbox } from "../../src/mail/address.ts";
import { certificateOf } from "../keys-of.ts";
import { manualClock } from "../manual-clock.ts";

const [ALICE, BOB] = [mailbox("alice@example.com"), mailbox("bob@other.example")];
const never = new AbortController().signal;
const TIMES = { ttlMs: 60_000, absentTtlMs: 10_000 };

/** A cache that several sources may share, as processes share a database. */
function memoryCache(): KeyCache & { rows: Map<string, unknown>; isBroken: boolean } {
  type Row = { answer: KeptAnswer<RecipientKey>; until: number; epoch: number };
  const rows = new Map<string, Row>();
  let epoch = 0;
  return {
    rows,
    isBroken: false,
    async read<K extends RecipientKey>({ settings }: { settings: string }, addressKey: string, now: number) {
      if (this.isBroken) throw new Error("locked");
      const row = rows.get(`${settings} ${addressKey}`);
      const kept = row !== undefined && row.epoch === epoch && now < row.until ? row : undefined;
      return Promise.resolve({ epoch, kept } as CacheReading<K>);
    },
    write({ settings }, addressKey, answer, { until, epoch: from }) {
      if (this.isBroken) return Promise.reject(new Error("locked"));
      if (from === epoch) rows.set(`${settings} ${addressKey}`, { answer, until, epoch });
      return Promise.resolve();
    },
    expire() {
      epoch++;
      return Promise.resolve();
    },
    keepOnly: () => Promise.resolve(),
  };
}

/** A network source that the test answers for, one look-up at a time. */
function scripted(...answers: (Answer<SmimeKey> | Promise<Answer<SmimeKey>>)[]) {
  const asked: string[] = [];
  const source: KeySource<SmimeKey> = {
    name: "ldap",
    find: async ({ address }) => {
      asked.push(address);
      return (await answers.shift()) ?? failed(new Error("not scripted"));
    },
    probe: () => Promise.resolve({ ok: true, detail: "" }),
  };
  return { source, asked };
}

function stage(source: KeySource<SmimeKey>, { cache = memoryCache(), settings = "one", clock = manualClock() } = {}) {
  const faults: string[] = [];
  const shelf = { source: "ldap", kind: "smime", settings } as const;
  const cached = cachedSource(source, {
    cache,
    shelf,
    times: TIMES,
    clock,
    cacheFailed: (cause) => void faults.push(cause.message),
    serverOf: ({ domain }) => domain,
  });
  return { cached, cache, clock, faults };
}

const alice = () => found([certificateOf("alice")]);

describe("what is kept", () => {
  test("a found key for ttl, an absence for absentTtl, each asked once until then", async () => {
    const { source, asked } = scripted(alice(), absent, alice(), absent);
    const { cached, clock } = stage(source);
    expect(await cached.find(ALICE, never)).not.toHaveProperty("cached");
    expect(await cached.find(BOB, never)).not.toHaveProperty("cached");
    expect(await cached.find(ALICE, never)).toMatchObject({ kind: "found", cached: true });
    expect(await cached.find(BOB, never)).toMatchObject({ kind: "absent", cached: true });
    clock.advance(TIMES.absentTtlMs);
    await cached.find(ALICE, never);
    await cached.find(BOB, never);
    clock.advance(TIMES.ttlMs - TIMES.absentTtlMs);
    await cached.find(ALICE, never);
    expect(asked).toEqual([ALICE, BOB, BOB, ALICE].map(({ address }) => address));
  });

  test("a failure is not kept, and never read as an absence", async () => {
    const { source, asked } = scripted(failed(new Error("refused")), absent);
    const { cached } = stage(source);
    expect(await cached.find(ALICE, never)).toMatchObject({ kind: "failed", cause: { message: "refused" } });
    expect(await cached.find(ALICE, never)).toMatchObject({ kind: "absent" });
    expect(asked).toHaveLength(2);
  });

  test("LOOK-22: what the database holds is read again as a key, and another process finds it", async () => {
    const cache = memoryCache();
    await stage(scripted(alice()).source, { cache }).cached.find(ALICE, never);
    const other = scripted();
    const answer = await stage(other.source, { cache }).cached.find(ALICE, never);
    expect(answer).toMatchObject({ kind: "found", cached: true });
    expect(other.asked).toEqual([]);
  });

  test("R22: answers got with other settings are not seen", async () => {
    const cache = memoryCache();
    await stage(scripted(alice()).source, { cache }).cached.find(ALICE, never);
    const other = scripted(absent);
    const answer = await stage(other.source, { cache, settings: "two" }).cached.find(ALICE, never);
    expect(answer).not.toHaveProperty("cached");
    expect(other.asked).toHaveLength(1);
  });

  test("a clock that was set back makes no answer live longer", async () => {
    const { source, asked } = scripted(alice(), alice());
    const { cached, clock } = stage(source, {
      cache: { ...memoryCache(), read: () => Promise.reject(new Error("x")) },
    });
    await cached.find(ALICE, never);
    clock.advance(-1);
    await cached.find(ALICE, never);
    expect(asked).toHaveLength(2);
  });

  test("a database that fails does not keep mail from a server that answers", async () => {
    const { source } = scripted(alice());
    const { cached, cache, faults } = stage(source);
    cache.isBroken = true;
    expect(await cached.find(ALICE, never)).toMatchObject({ kind: "found" });
    expect(await cached.find(ALICE, never)).toMatchObject({ kind: "found", cached: true });
    expect(faults).toEqual(["locked"]);
  });
});

describe("many at a time", () => {
  test("LOOK-20: 50 look-ups of one address at once are one", async () => {
    let answer: (said: Answer<SmimeKey>) => void = () => undefined;
    const { source, asked } = scripted(new Promise((resolve) => (answer = resolve)));
    const { cached } = stage(source);
    const all = Promise.all(Array.from({ length: 50 }, () => cached.find(ALICE, never)));
    answer(alice());
    expect((await all).map(({ kind }) => kind)).toEqual(Array(50).fill("found"));
    expect(asked).toHaveLength(1);
  });

  test("a caller that gives up does not end the look-up of the others", async () => {
    let signal: AbortSignal | undefined;
    const source: KeySource<SmimeKey> = {
      ...scripted().source,
      find: (_, given) => {
        signal = given;
        return Promise.resolve(alice());
      },
    };
    const impatient = new AbortController();
    impatient.abort();
    expect((await stage(source).cached.find(ALICE, impatient.signal)).kind).toBe("found");
    expect(signal?.aborted).toBe(false);
  });
});

describe("R21: expiry", () => {
  test("what was remembered is asked for afresh when it is next needed, and not before", async () => {
    const { source, asked } = scripted(alice(), absent);
    const { cached, cache } = stage(source);
    await cached.find(ALICE, never);
    await cache.expire(["ldap"]);
    cached.forget();
    expect(asked).toHaveLength(1);
    expect(await cached.find(ALICE, never)).toMatchObject({ kind: "absent" });
  });

  test("CONF-31: an answer that was asked for before the expiry is not kept after it", async () => {
    let answer: (said: Answer<SmimeKey>) => void = () => undefined;
    const { source, asked } = scripted(new Promise((resolve) => (answer = resolve)), absent);
    const { cached, cache } = stage(source);
    const early = cached.find(ALICE, never);
    while (asked.length === 0) await Promise.resolve();
    await cache.expire(["ldap"]);
    cached.forget();
    const late = cached.find(ALICE, never);
    answer(alice());
    expect((await early).kind).toBe("found");
    expect((await late).kind).toBe("absent");
    expect(await cached.find(ALICE, never)).toMatchObject({ kind: "absent", cached: true });
    expect(cache.rows.size).toBe(1);
  });
});

describe("a server that is down", () => {
  const down = () => failed(new Error("connection refused"));

  test("after three failures in a row it is left alone, and mail is told that it was not asked", async () => {
    const { source, asked } = scripted(down(), down(), down());
    const { cached } = stage(source);
    for (let time = 0; time < 20; time++) {
      const answer = await cached.find(mailbox(`user${time}@example.com`), never);
      expect(answer.kind).toBe("failed");
      if (time >= 3 && answer.kind === "failed") {
        expect(answer.cause).toBeInstanceOf(SourceAtRest);
        expect((answer.cause.cause as Error).message).toBe("connection refused");
      }
    }
    expect(asked).toHaveLength(3);
  });

  test("another server of the same source is asked all the same", async () => {
    const { source } = scripted(down(), down(), down(), absent);
    const { cached } = stage(source);
    for (let time = 0; time < 4; time++) await cached.find(mailbox(`user${time}@example.com`), never);
    expect((await cached.find(BOB, never)).kind).toBe("absent");
  });

  test("what was remembered before is still used", async () => {
    const { source } = scripted(alice(), down(), down(), down());
    const { cached } = stage(source);
    await cached.find(ALICE, never);
    for (let time = 0; time < 5; time++) await cached.find(mailbox(`user${time}@example.com`), never);
    expect(await cached.find(ALICE, never)).toMatchObject({ kind: "found", cached: true });
  });
});
