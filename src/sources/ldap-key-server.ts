// LDAP key server: OpenPGP keys out of a directory arranged as PGP Universal's, PGP.com's or GnuPG's.
import { AndFilter, EqualityFilter, NotFilter, OrFilter, PresenceFilter, SubstringFilter, type Filter } from "ldapts";
import { domainToUnicode } from "node:url";
import { absent, failed } from "../keys/lookup.ts";
import type { PgpKey } from "../keys/recipient-key.ts";
import type { Answer, KeySource } from "../keys/source.ts";
import { faultOf, shown } from "../ldap/ldap-fault.ts";
import type { LdapEntry, LdapServer } from "../ldap/ldap-server.ts";
import type { Mailbox } from "../mail/address.ts";
import { decodeArmor } from "../pgp/armor.ts";
import { cutOffAt } from "../pgp/packets.ts";
import { primaryFingerprint } from "../pgp/transferable-key.ts";
import { abridged } from "./ldap-certificates.ts";
import { findKeySpaces, type KeySpace } from "./ldap-key-space.ts";
import { keysInAnswer } from "./pgp-answer.ts";
import { failureOf, withheldBy } from "./user-directory.ts";

const SETTING = "pgp.keyServer";
/** How long it is believed where the keys are. */
const REMEMBERED_MS = 10 * 60_000;
const FINDING_MS = 10_000;
const MAX_VALUES = 50;
const ATTRIBUTES = ["pgpKey", "pgpKeyV2", "pgpRevoked", "pgpDisabled"];

export type LdapKeyServerParts = {
  /** `ldap://host[:port]/[base DN]` or `ldaps://…`. */
  readonly url: string;
  /** The server that the URL names. */
  readonly server: LdapServer;
  /** Only addresses of these domains (A-labels) are asked for; empty: all. */
  readonly onlyDomains: readonly string[];
  /** Told each time that an address is sent out. */
  readonly disclosed: () => void;
  /** Milliseconds since 1970. */
  readonly now: () => number;
};

/** The source `keyserver`. A server in which no keys can be found has failed; it is not one without the key. */
export function ldapKeyServer(parts: LdapKeyServerParts): KeySource<PgpKey> {
  const { server, onlyDomains, disclosed, now } = parts;
  const withholds = (mailbox: Mailbox) => withheldBy(`${SETTING}.onlyDomains`, onlyDomains, mailbox);
  let known: { readonly spaces: Promise<readonly KeySpace[]>; readonly until: number } | undefined;

  // many wait for it: it does not end with the one who came first
  const keySpaces = (): Promise<readonly KeySpace[]> => {
    if (known !== undefined && now() < known.until) return known.spaces;
    const spaces = findKeySpaces(parts, AbortSignal.timeout(FINDING_MS));
    known = { spaces, until: now() + REMEMBERED_MS };
    return spaces;
  };

  return {
    name: "keyserver",
    withholds,
    async find(mailbox, signal) {
      if (withholds(mailbox) !== undefined) return absent;
      let spaces: readonly KeySpace[] | undefined;
      try {
        spaces = await keySpaces();
        const entries: LdapEntry[] = [];
        for (const { base, schema } of spaces) {
          for (const address of spellingsOf(mailbox)) {
            disclosed();
            const filter = schema === "gnupg" ? gnupgFilter(address) : universalFilter(address);
            entries.push(...(await server.search({ base, scope: "sub", filter, attributes: ATTRIBUTES }, signal)));
          }
        }
        return await keysIn(entries, mailbox, now());
      } catch (cause) {
        // it may have moved
        known = undefined;
        // what is amiss where the keys are is amiss for every address
        return spaces === undefined ? failed(settingOf(cause)) : failureOf(cause, settingOf(cause));
      }
    },
    async probe(signal) {
      try {
        known = undefined;
        const spaces = await keySpaces();
        for (const { base } of spaces)
          await server.search({ base, scope: "base", filter: ANYTHING, attributes: ["1.1"] }, signal);
        const places = spaces.map(
          ({ base, schema }) => `${base} (as ${schema === "gnupg" ? "GnuPG" : "PGP Universal"})`,
        );
        return { ok: true, detail: `${server.access}; keys below ${places.join(" and ")}` };
      } catch (cause) {
        known = undefined;
        return { ok: false, detail: settingOf(cause).message };
      }
    },
  };
}

const ANYTHING = new PresenceFilter({ attribute: "objectClass" });

/** The settings of a key server differ: host and port stand in its URL. */
function settingOf(cause: unknown): Error {
  return faultOf(cause, SETTING, { host: "url", port: "url", baseDn: "url", filter: "url", tls: "startTls" });
}

/** Whoever made the key may have written an internationalised domain in either form into its User ID. */
function spellingsOf({ address, local, domain }: Mailbox): readonly string[] {
  // "" when it cannot be written otherwise
  const unicode = domainToUnicode(domain);
  return [...new Set([address, `${local}@${unicode === "" ? domain : unicode}`])];
}

/** As gpg asks; what is revoked or disabled is left out there already. */
function gnupgFilter(address: string): Filter {
  const equal = (attribute: string, value: string) => new EqualityFilter({ attribute, value });
  const gone = new OrFilter({ filters: [equal("pgpRevoked", "1"), equal("pgpDisabled", "1")] });
  return new AndFilter({ filters: [equal("gpgMailbox", address), new NotFilter({ filter: gone })] });
}

/** As gpg asks a server of PGP Universal's kind: some know no other filters. */
function universalFilter(address: string): Filter {
  return new SubstringFilter({ attribute: "pgpUserID", any: [`<${address}>`] });
}

/** A value that holds no whole key; `id` is the fingerprint of the key that it begins with. */
type Fault = { readonly reason: string; readonly id?: string | undefined };

/** Each key once: PGP.com gives one entry for each User ID. A value that cannot be read never hides its neighbours. */
async function keysIn(entries: readonly LdapEntry[], mailbox: Mailbox, now: number): Promise<Answer<PgpKey>> {
  const gone = entries.filter(isGone).map(({ dn }) => `${shown(dn)} is marked as revoked or disabled`);
  const hidden: Fault[] = [];
  const values = new Map<string, string>();
  for (const entry of entries.filter((one) => !isGone(one))) {
    const own = ["pgpKey", "pgpKeyV2"].map((name) => ({ name, values: entry.values(name) }));
    if (own.every((one) => one.values.length === 0))
      hidden.push({ reason: `the server shows no key of ${shown(entry.dn)}; see ${SETTING}.user` });
    for (const one of own)
      for (const value of one.values) values.set(value.toString("latin1"), `${one.name} of ${shown(entry.dn)}`);
  }
  if (values.size > MAX_VALUES)
    return onlyHere(`answered with ${values.size} keys; at most ${MAX_VALUES} are read; see ${SETTING}.url`);
  const { armored, faults } = sorted(values);
  const answer =
    armored.length === 0 ? absent : await keysInAnswer(Buffer.from(armored.join("\n"), "latin1"), mailbox, now);
  const unread = [...faults, ...hidden];
  // the only key there is, and it cannot be read: that is not to have none
  if (answer.kind === "absent" && unread[0] !== undefined) return onlyHere(unread[0].reason);
  if (answer.kind === "found") {
    // what is missing of a key may be that it is revoked
    const ids = new Set<string | undefined>(answer.value.map(({ fingerprint }) => fingerprint));
    const copy = faults.find(({ id }) => id !== undefined && ids.has(id));
    if (copy !== undefined) return onlyHere(copy.reason);
  }
  const inAnswer = "setAside" in answer ? (answer.setAside ?? []) : [];
  const setAside = abridged([...gone, ...unread.map(({ reason }) => reason), ...inAnswer]);
  return setAside.length > 0 ? { ...answer, setAside } : answer;
}

function onlyHere(reason: string): Answer<PgpKey> {
  return { ...failed(new Error(reason)), isOnlyHere: true };
}

/** Armored texts by whether whole keys are in them; `faults` say where and what the others are. */
function sorted(values: ReadonlyMap<string, string>) {
  const armored: string[] = [];
  const faults: Fault[] = [];
  for (const [text, where] of values) {
    const { blocks, faults: damage } = decodeArmor(text);
    const keys = blocks.filter(({ type }) => type === "PUBLIC KEY BLOCK").map(({ bytes }) => bytes);
    const cut = damage[0]?.bytes ?? keys.find((key) => cutOffAt(key) !== undefined);
    const reason =
      damage[0]?.reason ??
      (cut !== undefined ? "it is a key that is cut off" : keys.length === 0 ? "it is no OpenPGP key" : undefined);
    if (reason === undefined) armored.push(text);
    else faults.push({ reason: `${where}: ${reason}`, id: cut && primaryFingerprint(cut) });
  }
  return { armored, faults };
}

function isGone(entry: LdapEntry): boolean {
  return ["pgpRevoked", "pgpDisabled"].some((name) => entry.values(name).some((value) => value.toString() === "1"));
}
