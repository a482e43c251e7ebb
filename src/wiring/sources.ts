// The wiring of the key sources: which of them the settings ask for, and the server that each one speaks to.
import { readFileSync } from "node:fs";
import type { Settings } from "../config/schema.ts";
import type { SourceParts, SourceShelf } from "./source-shelf.ts";
import { httpGet } from "../http/http-get.ts";
import type { CachedSource } from "../keys/cached-source.ts";
import type { FitnessPolicy } from "../keys/fitness.ts";
import type { PgpKey, RecipientKey, SmimeKey } from "../keys/recipient-key.ts";
import { ldapServer, type LdapSettings } from "../ldap/ldap-server.ts";
import { externalLdap } from "../sources/external-ldap.ts";
import { hkpKeyServer } from "../sources/hkp.ts";
import { keyStoreFile, type KeyStoreFile, type StoreReader } from "../sources/key-store-file.ts";
import { keyStoreLog } from "../sources/key-store-log.ts";
import { certificateReader, keyringReader } from "../sources/key-store-readers.ts";
import { ldapKeyServer } from "../sources/ldap-key-server.ts";
import { userDirectory } from "../sources/user-directory.ts";
import { webKeyDirectory } from "../sources/wkd.ts";

/** A source that is not configured is undefined. */
export type SourceSet = {
  readonly smime: {
    readonly keyStore: KeyStoreFile<SmimeKey> | undefined;
    readonly userDirectories: readonly CachedSource<SmimeKey>[];
    readonly ldap: CachedSource<SmimeKey> | undefined;
  };
  readonly pgp: {
    readonly keyStore: KeyStoreFile<PgpKey> | undefined;
    readonly keyServer: CachedSource<PgpKey> | undefined;
    readonly wkd: CachedSource<PgpKey> | undefined;
  };
  /** Everything that remembers, by its name as `cache expire` takes it. */
  readonly remembering: readonly { readonly name: string; forget(): void }[];
};

/** Builds the sources of these settings. */
export function buildSources(
  settings: Settings,
  fitness: FitnessPolicy,
  shelf: SourceShelf,
  parts: SourceParts,
): SourceSet {
  const { keyStore: certificates, trust } = settings.smime;
  const { keyStore: keyring } = settings.pgp;
  const storeFile = <K extends RecipientKey>(kind: K["kind"], file: string, from: unknown, reader: StoreReader<K>) =>
    shelf.reuse(`${kind} keystore`, { from, trust }, () => {
      const observe = keyStoreLog(parts.log, parts.metrics);
      const now = () => parts.clock.now();
      const part = keyStoreFile<K>(file, kind, `${kind}.keyStore.file`, reader, observe, fitness, now);
      return { part, close: () => Promise.resolve() };
    });
  const smime = {
    keyStore:
      certificates === null
        ? undefined
        : storeFile<SmimeKey>(
            "smime",
            certificates.file,
            certificates,
            certificateReader(certificates.password?.reveal()),
          ),
    userDirectories: userDirectories(settings, shelf, parts),
    ldap: ldapOutside(settings, shelf, parts),
  };
  const pgp = {
    keyStore: keyring === null ? undefined : storeFile<PgpKey>("pgp", keyring.file, keyring, keyringReader),
    keyServer: keyServer(settings, shelf, parts),
    wkd: wkd(settings, shelf, parts),
  };
  const all = [smime.keyStore, ...smime.userDirectories, smime.ldap, pgp.keyStore, pgp.keyServer, pgp.wkd];
  return { smime, pgp, remembering: all.filter((source) => source !== undefined) };
}

function userDirectories({ smime }: Settings, shelf: SourceShelf, { clock }: SourceParts): CachedSource<SmimeKey>[] {
  return smime.userDirectories.map((directory, index) => {
    const from = { ...directory, ca: pemText(directory.ca) };
    const settingName = `smime.userDirectories[${index}]`;
    return shelf.network<SmimeKey>("smime", { name: `directory:${directory.name}`, from, settingName }, (disclosed) => {
      const server = ldapServer(ldapSettings(from), clock);
      return { source: userDirectory({ ...directory, server, disclosed, settingName }), close: () => server.close() };
    });
  });
}

function ldapOutside({ smime }: Settings, shelf: SourceShelf, { clock }: SourceParts) {
  const { ldap } = smime;
  if (ldap === null) return undefined;
  const from = { ...ldap, ca: pemText(ldap.ca) };
  return shelf.network<SmimeKey>("smime", { name: "ldap", from }, (disclosed) => {
    const server = ldapServer(ldapSettings(from), clock);
    return {
      source: externalLdap({ ...ldap, server, disclosed, settingName: "smime.ldap" }),
      close: () => server.close(),
    };
  });
}

function keyServer({ pgp }: Settings, shelf: SourceShelf, { clock }: SourceParts): CachedSource<PgpKey> | undefined {
  // empty: switched off, as the field of the page that it was copied from
  if (pgp.keyServer === null || pgp.keyServer.url === "") return undefined;
  const { url, proxy, onlyDomains, startTls } = pgp.keyServer;
  const environment = proxy === "env" ? proxyEnvironment() : {};
  const from = { ...pgp.keyServer, ca: pemText(pgp.keyServer.ca), environment };
  const now = () => clock.now();
  return shelf.network<PgpKey>("pgp", { name: "keyserver", from }, (disclosed) => {
    if (/^ldaps?:/i.test(url)) {
      const server = ldapServer(ldapSettings({ ...from, ...ldapPlace(url, startTls) }), clock);
      return { source: ldapKeyServer({ url, server, onlyDomains, disclosed, now }), close: () => server.close() };
    }
    const get = httpGet({ proxy, ca: from.ca, env: environment });
    return { source: hkpKeyServer({ url, get, onlyDomains, disclosed, now }), close: () => get.close() };
  });
}

function wkd({ pgp }: Settings, shelf: SourceShelf, { clock }: SourceParts): CachedSource<PgpKey> | undefined {
  const { wkd: isOn, wkdOnlyDomains: onlyDomains } = pgp;
  if (!isOn) return undefined;
  const now = () => clock.now();
  const make = (disclosed: () => void) => {
    const get = httpGet({ proxy: "none", publicOnly: true });
    return { source: webKeyDirectory({ get, onlyDomains, disclosed, now }), close: () => get.close() };
  };
  return shelf.network<PgpKey>("pgp", { name: "wkd", from: { onlyDomains }, serverOf: ({ domain }) => domain }, make);
}

function ldapSettings({ host, port, tls, ca, user, password }: LdapSettings): LdapSettings {
  return { host, port, tls, ca, user, password };
}

function ldapPlace(url: string, startTls: boolean): Pick<LdapSettings, "host" | "port" | "tls"> {
  const { hostname, port, protocol } = new URL(url);
  const isImplicit = protocol === "ldaps:";
  const tls = isImplicit ? "implicit" : startTls ? "starttls" : "off";
  return {
    host: hostname.replace(/^\[|\]$/g, ""),
    port: port === "" ? (isImplicit ? 636 : 389) : Number(port),
    tls,
  };
}

/** The environment's variables that decide about a proxy. */
export function proxyEnvironment(): Record<string, string | undefined> {
  const names = ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"];
  return Object.fromEntries(names.map((name) => [name, process.env[name]]));
}

export function pemText(file: string | null): string | undefined {
  return file === null ? undefined : readFileSync(file, "utf8");
}
