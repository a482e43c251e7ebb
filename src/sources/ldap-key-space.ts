// LDAP key space: finds out where in a directory the OpenPGP keys are, and how they are arranged there.
import { PresenceFilter } from "ldapts";
import { LdapFault } from "../ldap/ldap-fault.ts";
import type { LdapEntry, LdapServer } from "../ldap/ldap-server.ts";

/** `gnupg` has the addresses in gpgMailbox (GnuPG's schema 2), `universal` only whole User IDs in pgpUserID. */
export type KeySpace = { readonly base: string; readonly schema: "gnupg" | "universal" };

const ANYTHING = new PresenceFilter({ attribute: "objectClass" });
const SERVER_ENTRY = "cn=PGPServerInfo";
// PGP.com's have no prefix
const ATTRIBUTES = ["pgpBaseKeySpaceDN", "baseKeySpaceDN", "pgpSoftware", "software", "pgpVersion", "version"];

/**
 * The key spaces of a server: what the entry cn=PGPServerInfo says below the base of the URL or the nearest of its parents,
 * else below each naming context, else at the top (PGP.com). Rejects when there is none, and with an LdapFault.
 */
export async function findKeySpaces(
  { url, server }: { readonly url: string; readonly server: LdapServer },
  signal: AbortSignal,
): Promise<readonly KeySpace[]> {
  const base = baseIn(url);
  for (const context of withParents(base)) {
    const space = await keySpaceAt(server, `${SERVER_ENTRY},${context}`, signal);
    if (space !== undefined) return [space];
  }
  const contexts = await namingContexts(server, signal);
  const entries = contexts.length > 0 ? contexts.map((context) => `${SERVER_ENTRY},${context}`) : [SERVER_ENTRY];
  const spaces: KeySpace[] = [];
  for (const entry of entries) {
    const space = await keySpaceAt(server, entry, signal);
    if (space !== undefined && !spaces.some((one) => one.base === space.base)) spaces.push(space);
  }
  if (spaces.length > 0) return spaces;
  const where = contexts.length > 0 ? `below ${contexts.join(", ")}` : "which names no naming contexts";
  throw new Error(`no PGP key space at ${new URL(url).host} ${where}; see pgp.keyServer.url`);
}

/** The base DN of an LDAP URL (RFC 4516), "" when it has none. */
function baseIn(url: string): string {
  try {
    return decodeURIComponent(new URL(url).pathname.replace(/^\//, ""));
  } catch (cause) {
    throw new Error(`${url} has a base DN that is not percent-encoded; see pgp.keyServer.url`, { cause });
  }
}

/** `a,b,c` → `a,b,c`, `b,c`, `c`; a comma after a backslash is part of a name. */
function withParents(base: string): string[] {
  const names = base === "" ? [] : base.split(/(?<!\\),/);
  return names.map((_, index) => names.slice(index).join(","));
}

async function namingContexts(server: LdapServer, signal: AbortSignal): Promise<readonly string[]> {
  const [root] = await entryAt(server, "", ["namingContexts"], signal);
  return (root?.values("namingContexts") ?? []).map((value) => value.toString()).filter((context) => context !== "");
}

async function keySpaceAt(server: LdapServer, dn: string, signal: AbortSignal): Promise<KeySpace | undefined> {
  const [entry] = await entryAt(server, dn, ATTRIBUTES, signal);
  const base = firstOf(entry, "pgpBaseKeySpaceDN") ?? firstOf(entry, "baseKeySpaceDN");
  if (base === undefined) return undefined;
  const isGnupg = /gnupg/i.test(firstOf(entry, "pgpSoftware") ?? "");
  const version = Number.parseInt(firstOf(entry, "pgpVersion") ?? "0", 10);
  return { base, schema: isGnupg && version > 1 ? "gnupg" : "universal" };
}

/** Nothing when there is no such entry at this server; a referral says as much. */
async function entryAt(server: LdapServer, base: string, attributes: readonly string[], signal: AbortSignal) {
  try {
    return await server.search({ base, scope: "base", filter: ANYTHING, attributes }, signal);
  } catch (cause) {
    if (cause instanceof LdapFault && (cause.kind === "no-such-base" || cause.kind === "referral")) return [];
    throw cause;
  }
}

function firstOf(entry: LdapEntry | undefined, attribute: string): string | undefined {
  const text = entry?.values(attribute)[0]?.toString().trim();
  return text === "" ? undefined : text;
}
