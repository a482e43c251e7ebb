import { describe, expect, onTestFinished, test, vi } from "vitest";
import { cachedSource, SourceAtRest, type FitnessTest } from "../../src/keys/cached-source.ts";
import type { CacheReading, KeptAnswer, KeyCache } from "../../src/keys/key-cache.ts";
import { fitness } from "../../src/keys/fitness.ts";
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

const everyKey: FitnessTest = () => true;

function stage(
  source: KeySource<SmimeKey>,
  { cache = memoryCache(), settings = "one", clock = manualClock(), isFit = everyKey } = {},
) {
  const faults: string[] = [];
  const shelf = { source: "ldap", kind: "smime", settings } as const;
  const cached = cachedSource(source, {
    cache,
    shelf,
    times: TIMES,
    clock,
    isFit,
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

  test("what was set aside is kept with its answer, for this process and for others: nobody is asked again for it", async () => {
    const gone = { ...absent, setAside: ["uid=alice is marked as revoked"] };
    const cache = memoryCache();
    const first = scripted(gone);
    const own = stage(first.source, { cache });
    await own.cached.find(ALICE, never);
    const again = await own.cached.find(ALICE, never);
    expect(again).toEqual({ ...gone, cached: true });
    const second = scripted();
    expect(await stage(second.source, { cache }).cached.find(ALICE, never)).toEqual({ ...gone, cached: true });
    expect([...first.asked, ...second.asked]).toEqual([ALICE.address]);
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

describe("keys that serve nobody", () => {
  const old = () => found([certificateOf("alice-old")]);
  const renewed = () => found([certificateOf("alice-new")]);
  const judged: FitnessTest = (key, mailbox, now) => fitness(key, mailbox, now, { minRsaBits: 2048 }).fit;
  const isNew: FitnessTest = ({ fingerprint }) => fingerprint === certificateOf("alice-new").fingerprint;
  const ends = () => certificateOf("alice-new").certificate.notAfter;
  const fingerprintsIn = (answer: Answer<SmimeKey>) =>
    answer.kind === "found" ? answer.value.map(({ fingerprint }) => fingerprint) : answer.kind;
  const NEW = [certificateOf("alice-new").fingerprint];

  test("a certificate that is put in the place of an unfit one is found after absentTtl, not after ttl", async () => {
    const { source, asked } = scripted(old(), renewed());
    const { cached, clock, cache } = stage(source, { isFit: isNew });
    await cached.find(ALICE, never);
    clock.advance(TIMES.absentTtlMs - 1);
    expect(await cached.find(ALICE, never)).toMatchObject({ kind: "found", cached: true });
    expect(asked).toHaveLength(1);
    clock.advance(1);
    expect(fingerprintsIn(await cached.find(ALICE, never))).toEqual(NEW);
    // other processes neither
    expect([...cache.rows.values()]).toMatchObject([{ until: clock.now() + TIMES.ttlMs }]);
    clock.advance(TIMES.ttlMs - 1);
    expect(await cached.find(ALICE, never)).toMatchObject({ cached: true });
    expect(asked).toHaveLength(2);
  });

  test("with cache.ttl 0 an unfit key is not remembered either", async () => {
    const { source, asked } = scripted(old(), old());
    const clock = manualClock();
    const cached = cachedSource(source, {
      ...{ cache: memoryCache(), clock, cacheFailed: () => undefined, isFit: isNew },
      ...{ shelf: { source: "ldap", kind: "smime", settings: "" }, times: { ttlMs: 0, absentTtlMs: 10_000 } },
    });
    for (let time = 0; time < 2; time++) await cached.find(ALICE, never);
    expect(asked).toHaveLength(2);
  });

  test("an answer is asked for again as soon as its fit key has expired, and until then it is remembered", async () => {
    const { source, asked } = scripted(renewed(), alice());
    const clock = manualClock(ends() - TIMES.ttlMs / 2);
    const { cached } = stage(source, { isFit: judged, clock });
    await cached.find(ALICE, never);
    clock.advance(TIMES.ttlMs / 2);
    expect(await cached.find(ALICE, never)).toMatchObject({ cached: true });
    clock.advance(1);
    expect(await cached.find(ALICE, never)).not.toHaveProperty("cached");
    expect(asked).toHaveLength(2);
  });

  test("an unfit key beside a fit one shortens nothing", async () => {
    const { source, asked } = scripted(found([certificateOf("alice-old"), certificateOf("alice-new")]));
    const { cached, clock } = stage(source, { isFit: isNew });
    await cached.find(ALICE, never);
    clock.advance(TIMES.ttlMs - 1);
    expect(await cached.find(ALICE, never)).toMatchObject({ cached: true });
    expect(asked).toHaveLength(1);
  });

  test("a key that was fit when it was found and is revoked since is asked for again, by another process too", async () => {
    const { source } = scripted(alice());
    const cache = memoryCache();
    const revoked = new Set<string>();
    const isFit: FitnessTest = ({ fingerprint }) => !revoked.has(fingerprint);
    const { cached, clock } = stage(source, { isFit, cache });
    await cached.find(ALICE, never);
    revoked.add(certificateOf("alice").fingerprint);
    const other = scripted(renewed());
    expect(fingerprintsIn(await stage(other.source, { isFit, cache, clock }).cached.find(ALICE, never))).toEqual(NEW);
    // the memory of this one ends as well, and what the other has learned serves here
    expect(fingerprintsIn(await cached.find(ALICE, never))).toEqual(NEW);
  });

  test("after a reload the policy of now decides about what is remembered from before", async () => {
    const { source, asked } = scripted(old(), renewed());
    const { cached } = stage(source);
    await cached.find(ALICE, never);
    expect(fingerprintsIn(await cached.under(isNew).find(ALICE, never))).toEqual(NEW);
    expect(asked).toHaveLength(2);
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

  test("it rests 5 s, then twice as long each time, at most a minute", async () => {
    // the breaker looks at the time of day by itself
    vi.useFakeTimers({ toFake: ["Date"] });
    onTestFinished(() => void vi.useRealTimers());
    const { source, asked } = scripted(...Array.from({ length: 10 }, down));
    const { cached } = stage(source);
    const look = () => cached.find(ALICE, never);
    for (let time = 0; time < 3; time++) await look();
    for (const restMs of [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]) {
      const before = asked.length;
      vi.setSystemTime(Date.now() + restMs - 1);
      await look();
      expect(asked).toHaveLength(before);
      vi.setSystemTime(Date.now() + 1);
      await look();
      expect(asked).toHaveLength(before + 1);
    }
  });

  test("a clock that is set back by a day ends the rest, which else would last until it is that time again", async () => {
    const { source, asked } = scripted(down(), down(), down(), down(), alice());
    const { cached, clock } = stage(source);
    for (let time = 0; time < 4; time++) await cached.find(ALICE, never);
    expect(asked).toHaveLength(3);
    clock.advance(-86_400_000);
    expect(await cached.find(ALICE, never)).toMatchObject({ kind: "failed", cause: { message: "connection refused" } });
    expect((await cached.find(ALICE, never)).kind).toBe("found");
    expect(asked).toHaveLength(5);
  });

  test("a failure that is only about one address makes nobody else wait", async () => {
    const broken = () => ({ ...failed(new Error("answered with a damaged key")), isOnlyHere: true });
    const { source, asked } = scripted(broken(), broken(), broken(), broken(), alice());
    const { cached } = stage(source);
    for (let time = 0; time < 4; time++) expect((await cached.find(BOB, never)).kind).toBe("failed");
    expect((await cached.find(ALICE, never)).kind).toBe("found");
    expect(asked).toHaveLength(5);
  });

  test("why it rests is told by a failure of the server, not by one that is only about an address and came later", async () => {
    let answer: (said: Answer<SmimeKey>) => void = () => undefined;
    const { source } = scripted(new Promise((resolve) => (answer = resolve)), down(), down(), down());
    const { cached } = stage(source);
    const slow = cached.find(mailbox("slow@example.com"), never);
    for (let time = 0; time < 3; time++) await cached.find(mailbox(`user${time}@example.com`), never);
    answer({ ...failed(new Error("40 certificates")), isOnlyHere: true });
    await slow;
    const { cause } = (await cached.find(ALICE, never)) as { cause: Error };
    expect(cause).toBeInstanceOf(SourceAtRest);
    expect(cause.cause).toMatchObject({ message: "connection refused" });
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
