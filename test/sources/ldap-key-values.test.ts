// Values of an LDAP key server of which some are damaged or not shown: none hides its neighbours, and none is taken for no key.
import { beforeAll, describe, expect, test } from "vitest";
import type { LdapEntry, LdapServer } from "../../src/ldap/ldap-directory.ts";
import { LdapFault } from "../../src/ldap/ldap-fault.ts";
import { mailbox } from "../../src/mail/address.ts";
import { ldapKeyServer } from "../../src/sources/ldap-key-server.ts";
import { FIXTURE_TIME, pgpKeyOf } from "../keys-of.ts";

const never = new AbortController().signal;
let bob: Uint8Array;
let carol: Uint8Array;
let bobsFingerprint: string;
beforeAll(async () => {
  const [bobs, carols] = await Promise.all([pgpKeyOf("bob"), pgpKeyOf("carol")]);
  [bob, carol, bobsFingerprint] = [bobs.certificate.bytes, carols.certificate.bytes, bobs.fingerprint];
});

const entry = (dn: string, attributes: Readonly<Record<string, string>>): LdapEntry => ({
  dn,
  values: (name) => (attributes[name] === undefined ? [] : [Buffer.from(attributes[name], "latin1")]),
});
const armor = (bytes: Uint8Array) =>
  `-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n${Buffer.from(bytes).toString("base64")}\n-----END PGP PUBLIC KEY BLOCK-----\n`;

/** What is answered when the keys are these entries, or when the search for them fails so. */
function ask(keys: readonly LdapEntry[] | LdapFault, space: LdapEntry | LdapFault = SPACE) {
  const reply = (answer: readonly LdapEntry[] | LdapFault) =>
    answer instanceof LdapFault ? Promise.reject(answer) : Promise.resolve(answer);
  const server: LdapServer = {
    access: "anonymous",
    search: ({ base }) => reply(base === "o=k" ? keys : space instanceof LdapFault ? space : [space]),
    close: () => Promise.resolve(),
  };
  const parts = { url: "ldap://127.0.0.1/o=x", server, onlyDomains: [], disclosed: () => undefined };
  return ldapKeyServer({ ...parts, now: () => FIXTURE_TIME }).find(mailbox("bob@example.com"), never);
}
const SPACE = entry("cn=PGPServerInfo,o=x", { pgpBaseKeySpaceDN: "o=k" });

describe("LOOK-08: a value", () => {
  test("of another person's that is cut off is set aside, and the whole one beside it is found", async () => {
    const good = entry("pgpCertID=1", { pgpKey: armor(bob) });
    const cut = entry("pgpCertID=2", { pgpKey: armor(carol.subarray(0, carol.length - 50)) });
    for (const entries of [
      [good, cut],
      [cut, good],
    ])
      expect(await ask(entries)).toMatchObject({
        ...{ kind: "found", value: [{ fingerprint: bobsFingerprint }] },
        setAside: ["pgpKey of pgpCertID=2: it is a key that is cut off"],
      });
  });

  test("that is cut off and the only one has failed, for this address", async () => {
    const answer = await ask([entry("pgpCertID=2", { pgpKey: armor(bob.subarray(0, bob.length - 50)) })]);
    expect(answer).toMatchObject({ kind: "failed", isOnlyHere: true });
  });

  test("that is a copy of the key found, and cut off, may have held its revocation: failed", async () => {
    const good = entry("pgpCertID=1", { pgpKey: armor(bob) });
    const cut = entry("pgpCertID=2", { pgpKey: armor(bob.subarray(0, bob.length - 50)) });
    const ended = entry("pgpCertID=3", { pgpKeyV2: armor(bob).replace(/-----END.*/, "") });
    for (const copy of [cut, ended])
      expect(await ask([good, copy])).toMatchObject({ kind: "failed", isOnlyHere: true });
  });

  test("that an entry does not show is not one that is not there", async () => {
    const answer = await ask([entry("pgpCertID=1", { pgpRevoked: "0" })]);
    expect(answer).toMatchObject({ kind: "failed", isOnlyHere: true });
    expect(answer.kind === "failed" && answer.cause.message).toBe(
      "the server shows no key of pgpCertID=1; see pgp.keyServer.user",
    );
    expect(await ask([entry("pgpCertID=1", { pgpRevoked: "1" })])).toMatchObject({ kind: "absent" });
    expect(await ask([entry("pgpCertID=1", {}), entry("pgpCertID=2", { pgpKey: armor(bob) })])).toMatchObject({
      kind: "found",
      setAside: ["the server shows no key of pgpCertID=1; see pgp.keyServer.user"],
    });
  });
});

test("LOOK-06: hundreds of entries with long names are told of in twenty short notes", async () => {
  const gone = Array.from({ length: 900 }, () => entry(`cn=${"x".repeat(5_000)}`, { pgpRevoked: "1" }));
  const { kind, setAside } = await ask(gone);
  expect([kind, setAside?.length, setAside?.at(-1)]).toEqual(["absent", 20, "and 881 more"]);
  expect(setAside?.join("").length).toBeLessThan(6_000);
});

test("too much for one address lies in that address; too much where the keys are looked for, in the server", async () => {
  const tooMuch = new LdapFault("too-much", "more than is read", { isOnlyHere: true });
  expect((await ask(tooMuch)).isOnlyHere).toBe(true);
  const atLarge = await ask([], tooMuch);
  expect([atLarge.kind, atLarge.isOnlyHere]).toEqual(["failed", undefined]);
  const many = Array.from({ length: 51 }, (_, index) => entry(`cn=${index}`, { pgpKey: `key ${index}` }));
  expect(await ask(many)).toMatchObject({ kind: "failed", isOnlyHere: true });
});
