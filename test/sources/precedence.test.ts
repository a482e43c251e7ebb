// Which source goes before which, who counts, and that no source is asked below a fit key.
import { describe, expect, test } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { createChain } from "../../src/keys/chain.ts";
import { absent, failed, found } from "../../src/keys/lookup.ts";
import type { PersonalKey, PersonalKeys } from "../../src/keys/personal-keys.ts";
import type { KeyOrigin, PgpKey, RecipientKey, SmimeKey } from "../../src/keys/recipient-key.ts";
import type { KeySource } from "../../src/keys/source.ts";
import { withCauses } from "../../src/log.ts";
import { mailbox } from "../../src/mail/address.ts";
import type { UploadPolicy } from "../../src/sources/personal.ts";
import { pgpSources, smimeSources, type SourceParts } from "../../src/sources/precedence.ts";
import type { PersonLookup } from "../../src/users/directory.ts";
import { certificateOf, FIXTURE_TIME, pgpKeyOf } from "../keys-of.ts";

const [ALICE, BOB] = [mailbox("alice@example.com"), mailbox("bob@example.com")];
const never = new AbortController().signal;
const CLOCK = { ...systemClock, now: () => FIXTURE_TIME };
const ALL: UploadPolicy = { users: true, customers: false, people: undefined };

/** Personal keys held in memory, the same for everybody. */
function personal(...keys: (readonly [KeyOrigin, RecipientKey])[]): PersonalKeys {
  const all = keys.map(([origin, key]): PersonalKey => ({ address: ALICE.address, key, origin, addedAt: 0 }));
  return {
    find: (_, kind, origin) => Promise.resolve(all.filter((one) => one.key.kind === kind && one.origin === origin)),
    list: () => Promise.resolve(all),
    add: () => Promise.reject(new Error("not here")),
    learn: () => Promise.reject(new Error("not here")),
    remove: () => Promise.resolve([]),
  };
}

function source<K extends RecipientKey>(name: string, ...keys: K[]) {
  const asked: string[] = [];
  const one: KeySource<K> = {
    name,
    find: ({ address }) => {
      asked.push(address);
      return Promise.resolve(keys.length === 0 ? absent : found(keys));
    },
    probe: () => Promise.resolve({ ok: true, detail: "" }),
  };
  return { ...one, asked };
}

function parts(personalKeys: PersonalKeys, more: { smime?: object; pgp?: object } = {}): SourceParts {
  return {
    personalKeys,
    smime: { uploads: ALL, incoming: true, keyStore: undefined, userDirectories: [], ldap: undefined, ...more.smime },
    pgp: {
      uploads: ALL,
      incoming: true,
      keyStore: undefined,
      keyServer: undefined,
      wkd: undefined,
      autocrypt: false,
      ...more.pgp,
    },
  };
}

const resolveSmime = (all: SourceParts) =>
  createChain<SmimeKey>("smime", smimeSources(all), { minRsaBits: 2048 }, CLOCK, 100).resolve(ALICE, never);
const resolvePgp = (all: SourceParts) =>
  createChain<PgpKey>("pgp", pgpSources(all), { minRsaBits: 2048 }, CLOCK, 100).resolve(BOB, never);
const from = (answer: { answer: { kind: string } }) =>
  answer.answer.kind === "found"
    ? (answer.answer as unknown as { value: { source: string } }).value.source
    : answer.answer.kind;

const [CERT, NEWER, OLD] = [certificateOf("alice"), certificateOf("alice-new"), certificateOf("alice-old")];

describe("the order of precedence", () => {
  test("R6, R7: S/MIME is upload, incoming, keystore, the directories in their order, and ldap last", () => {
    const smime = {
      keyStore: source("keystore"),
      userDirectories: [source("directory:b"), source("directory:a")],
      ldap: source("ldap"),
    };
    expect(smimeSources(parts(personal(), { smime })).map(({ name }) => name)).toEqual([
      ...["upload", "incoming", "keystore", "directory:b", "directory:a", "ldap"],
    ]);
  });

  test("OpenPGP is upload, incoming, keystore, keyserver, wkd", () => {
    const pgp = { keyStore: source("keystore"), keyServer: source("keyserver"), wkd: source("wkd") };
    expect(pgpSources(parts(personal(), { pgp })).map(({ name }) => name)).toEqual([
      ...["upload", "incoming", "keystore", "keyserver", "wkd"],
    ]);
  });

  test("R1, R16: what is not configured is no source and no error", async () => {
    const none = parts(personal());
    expect(from(await resolveSmime(none))).toBe("absent");
    expect(from(await resolvePgp(none))).toBe("absent");
  });
});

describe("personal keys", () => {
  test("R10: a certificate learned from incoming mail overrides key store and LDAP, and is not used when that is off", async () => {
    const keyStore = source("keystore", NEWER);
    const learned = personal(["incoming", CERT]);
    expect(from(await resolveSmime(parts(learned, { smime: { keyStore, ldap: source("ldap", NEWER) } })))).toBe(
      "incoming",
    );
    expect(keyStore.asked).toEqual([]);
    expect(from(await resolveSmime(parts(learned, { smime: { keyStore, incoming: false } })))).toBe("keystore");
  });

  test("R18: an OpenPGP key learned from incoming mail overrides key store and key server", async () => {
    const key = await pgpKeyOf("bob");
    const [keyStore, keyServer] = [source("keystore", key), source("keyserver", key)];
    const learned = personal(["incoming", key]);
    expect(from(await resolvePgp(parts(learned, { pgp: { keyStore, keyServer } })))).toBe("incoming");
    expect([...keyStore.asked, ...keyServer.asked]).toEqual([]);
    expect(from(await resolvePgp(parts(learned, { pgp: { keyStore, incoming: false } })))).toBe("keystore");
  });

  test("R12: a suitable upload outranks the key store, an unsuitable one does not hide a good one", async () => {
    const keyStore = source("keystore", CERT);
    expect(
      from(await resolveSmime(parts(personal(["upload", NEWER], ["incoming", CERT]), { smime: { keyStore } }))),
    ).toBe("upload");
    expect(from(await resolveSmime(parts(personal(["upload", OLD]), { smime: { keyStore } })))).toBe("keystore");
  });

  test("R12: switched off later, old uploads are no longer used", async () => {
    const uploads = { ...ALL, users: false };
    expect(from(await resolveSmime(parts(personal(["upload", CERT]), { smime: { uploads } })))).toBe("absent");
  });

  test("R20: a suitable uploaded OpenPGP key outranks key store and key server, and has a switch of its own", async () => {
    const key = await pgpKeyOf("bob");
    const keyServer = source("keyserver", key);
    const uploaded = personal(["upload", key], ["upload", CERT]);
    expect(from(await resolvePgp(parts(uploaded, { pgp: { keyServer } })))).toBe("upload");
    expect(keyServer.asked).toEqual([]);
    const off = { pgp: { uploads: { ...ALL, users: false }, keyServer } };
    expect(from(await resolvePgp(parts(uploaded, off)))).toBe("keyserver");
    expect(from(await resolveSmime(parts(uploaded, off)))).toBe("upload");
  });

  test("R23, LOOK-09: key store and key server are not asked when there is a suitable personal key", async () => {
    const [keyStore, ldap] = [source("keystore", NEWER), source("ldap", NEWER)];
    await resolveSmime(parts(personal(["upload", CERT]), { smime: { keyStore, ldap } }));
    expect([...keyStore.asked, ...ldap.asked]).toEqual([]);
  });
});

describe("whose uploads count", () => {
  const people = (answer: PersonLookup) => {
    const asked: string[] = [];
    const directory = {
      find: ({ address }: { address: string }) => {
        asked.push(address);
        return Promise.resolve(answer);
      },
      probe: () => Promise.resolve({ ok: true, detail: "" }),
    };
    return { directory, asked };
  };
  const person = (kind: "user" | "customer", isActive = true): PersonLookup => ({
    kind: "found",
    value: { kind, isActive },
  });
  const judged = (answer: PersonLookup, switches: { users: boolean; customers: boolean }) =>
    resolveSmime(
      parts(personal(["upload", CERT]), { smime: { uploads: { ...switches, people: people(answer).directory } } }),
    );

  test.each<[string, PersonLookup, boolean, boolean, string]>([
    ["an active user", person("user"), true, false, "upload"],
    ["an active user whose kind is switched off", person("user"), false, true, "absent"],
    ["an inactive user", person("user", false), true, true, "absent"],
    ["a customer without a switch", person("customer"), true, false, "absent"],
    ["a customer with a switch", person("customer"), false, true, "upload"],
    ["an inactive customer", person("customer", false), true, true, "absent"],
    ["somebody whom Jira does not know", { kind: "absent" }, true, false, "upload"],
    ["somebody whom Jira does not know, with only customers switched on", { kind: "absent" }, false, true, "absent"],
  ])("R12, R13: the upload of %s", async (_, answer, users, customers, expected) => {
    const result = await judged(answer, { users, customers });
    expect(from(result)).toBe(expected);
    if (expected === "absent") expect(result.trail[0]?.setAside?.[0]).toContain(CERT.fingerprint);
  });

  test("R12: when Jira cannot say whether the owner is active, the mail waits", async () => {
    const { answer } = await judged(failed(new Error("jira answered with 503")), { users: true, customers: false });
    expect(answer.kind === "failed" && withCauses(answer.cause)).toBe(
      "upload failed: whether this user is active is not known: jira answered with 503",
    );
  });

  test("Jira is not asked about people without an upload", async () => {
    const { directory, asked } = people(failed(new Error("down")));
    expect(from(await resolveSmime(parts(personal(), { smime: { uploads: { ...ALL, people: directory } } })))).toBe(
      "absent",
    );
    expect(asked).toEqual([]);
  });
});
