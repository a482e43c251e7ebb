// LDAP certificates: what a directory holds for one address, as candidates: userSMIMECertificate before userCertificate (RULES R5).
import { AndFilter, EqualityFilter, OrFilter, PresenceFilter, type Filter } from "ldapts";
import { LdapFault, shown } from "../ldap/ldap-fault.ts";
import type { LdapEntry, LdapServer } from "../ldap/ldap-server.ts";
import { parseMailbox, type Mailbox } from "../mail/address.ts";
import { absent, found } from "../keys/lookup.ts";
import { smimeKey, type SmimeKey } from "../keys/recipient-key.ts";
import type { Answer } from "../keys/source.ts";
import type { Certificate } from "../smime/certificate.ts";
import { readLargeCertificateStore } from "../smime/certificate-store.ts";

/** Where below `baseDn` people are, and by which attribute their address is found. */
export type CertificatePlace = {
  readonly server: LdapServer;
  readonly baseDn: string;
  readonly filter: Filter | undefined;
  readonly mailAttribute: string;
};

const PLACES = [
  { name: "userSMIMECertificate", rank: 0 },
  { name: "userCertificate", rank: 1 },
] as const;

// OpenLDAP gives userCertificate only with the option, Active Directory both only without it
const ATTRIBUTES = PLACES.flatMap(({ name }) => [name, `${name};binary`]);

/** More values for one address are no person's. */
const MAX_VALUES = 100;
/** Each of them may need a certification path, in one go. */
const MAX_CANDIDATES = 50;
const MAX_NOTES = 20;
/** People whose certificates are looked at to find out whether there are any. */
const SAMPLE = 5;

/** All certificates of all entries that have this address. Rejects with an LdapFault. */
export async function certificatesFor(
  place: CertificatePlace,
  mailbox: Mailbox,
  signal: AbortSignal,
): Promise<Answer<SmimeKey>> {
  const { entries, fault } = await entriesFor(place, mailbox, signal);
  const own = entries.filter((entry) => hasAddress(entry, place.mailAttribute, mailbox));
  const count = own.reduce((sum, entry) => sum + PLACES.flatMap(({ name }) => entry.values(name)).length, 0);
  if (count > MAX_VALUES) throw tooMuch(`${count} values of certificates for one address; at most ${MAX_VALUES}`);
  const keys = new Map<string, SmimeKey>();
  const hidden = hiddenFault(entries, place.mailAttribute);
  const notes = hidden === undefined ? [] : [hidden.message];
  for (const entry of own) {
    const offer = await readEntry(entry, mailbox);
    for (const note of offer.unreadable) notes.push(note);
    for (const key of offer.keys) {
      const known = keys.get(key.fingerprint);
      if (known === undefined || (known.place?.rank ?? 0) > (key.place?.rank ?? 0)) keys.set(key.fingerprint, key);
    }
  }
  const candidates = judgeable([...keys.values()], mailbox);
  // who has no certificate here may have one where the server refers to, or in an entry that cannot be told to be theirs
  const unknown = fault ?? hidden;
  if (unknown !== undefined && candidates.length === 0) throw unknown;
  const noted = notes.length > 0 ? { setAside: abridged(notes) } : {};
  return candidates.length === 0 ? { ...absent, ...noted } : { ...found(candidates), ...noted };
}

/**
 * Why nobody's certificate can be read below `place`, as an operator would say it; undefined when somebody's can. Of a few people
 * that have one, whoever they are. Rejects with an LdapFault.
 */
export async function certificatesMissing(place: CertificatePlace, signal: AbortSignal): Promise<string | undefined> {
  const { server, baseDn, mailAttribute } = place;
  const present = (attribute: string) => new PresenceFilter({ attribute });
  const having = new OrFilter({ filters: PLACES.map(({ name }) => present(name)) });
  const filter = within(place, new AndFilter({ filters: [present(mailAttribute), having] }));
  const search = { base: baseDn, scope: "sub", filter, attributes: ATTRIBUTES, atMost: SAMPLE } as const;
  const { entries } = await hereAndElsewhere(server.search(search, signal));
  const certificates = PLACES.map(({ name }) => name).join(" or ");
  if (entries.length === 0) return `no entry below ${baseDn} that matches shows a ${certificates}`;
  const notes: string[] = [];
  for (const entry of entries) {
    const { certificates, unreadable } = await readValues(entry);
    if (certificates > 0) return undefined;
    notes.push(...unreadable);
  }
  return `of ${entries.length} entries none has a certificate that can be read: ${notes[0] ?? `no ${certificates} is shown`}`;
}

/** At most 20 notes, the last of which counts the others. */
export function abridged(notes: readonly string[]): readonly string[] {
  if (notes.length <= MAX_NOTES) return notes;
  return [...notes.slice(0, MAX_NOTES - 1), `and ${notes.length - MAX_NOTES + 1} more`];
}

/** All that name the mailbox; of the others, which only show why they do not serve, so many as make up the number. */
function judgeable(keys: readonly SmimeKey[], mailbox: Mailbox): readonly SmimeKey[] {
  const naming = keys.filter(({ certificate }) => names(certificate, mailbox));
  if (naming.length > MAX_CANDIDATES)
    throw tooMuch(`${naming.length} certificates that name one address; at most ${MAX_CANDIDATES}`);
  const others = keys.filter(({ certificate }) => !names(certificate, mailbox));
  const spared = new Set(others.slice(MAX_CANDIDATES - naming.length));
  return keys.filter((key) => !spared.has(key));
}

function tooMuch(what: string): LdapFault {
  return new LdapFault("too-much", `answered with ${what} are read`, { setting: "filter", isOnlyHere: true });
}

/** Why entries that the server took for the address cannot be told to have it: it lets the attribute be searched, not read. */
export function hiddenFault(entries: readonly LdapEntry[], attribute: string): LdapFault | undefined {
  const [hidden] = entries.filter((entry) => entry.values(attribute).length === 0);
  if (hidden === undefined) return undefined;
  return new LdapFault("refused", `the server does not show ${attribute} of ${shown(hidden.dn)}`, {
    ...{ setting: "user", isOnlyHere: true },
  });
}

async function entriesFor(place: CertificatePlace, mailbox: Mailbox, signal: AbortSignal) {
  const { server, baseDn, mailAttribute } = place;
  // no text is put together here: whatever the address holds stays a value (RFC 4515 3)
  const equality = new EqualityFilter({ attribute: mailAttribute, value: mailbox.address });
  const search = {
    base: baseDn,
    scope: "sub",
    filter: within(place, equality),
    attributes: [...ATTRIBUTES, mailAttribute],
  } as const;
  return hereAndElsewhere(server.search(search, signal));
}

/** `own` among those whom the setting's filter lets in. */
export function within({ filter }: CertificatePlace, own: Filter): Filter {
  return filter === undefined ? own : new AndFilter({ filters: [filter, own] });
}

/** Entries of this server's part of the directory; `fault` tells that there are other parts. */
export async function hereAndElsewhere(search: Promise<readonly LdapEntry[]>) {
  try {
    return { entries: await search, fault: undefined };
  } catch (cause) {
    if (cause instanceof LdapFault && cause.kind === "referral") return { entries: cause.entries, fault: cause };
    throw cause;
  }
}

/** The server's word is not taken for it: some match more than they were asked for. */
function hasAddress(entry: LdapEntry, mailAttribute: string, mailbox: Mailbox): boolean {
  return entry.values(mailAttribute).some((value) => isFor(value.toString(), mailbox));
}

function isFor(address: string, mailbox: Mailbox): boolean {
  const parsed = parseMailbox(address.trim());
  return "mailbox" in parsed && parsed.mailbox.key === mailbox.key;
}

type ReadEntry = {
  readonly read: readonly { readonly place: (typeof PLACES)[number]; readonly certificates: readonly Certificate[] }[];
  readonly unreadable: readonly string[];
  readonly certificates: number;
};

async function readValues(entry: LdapEntry): Promise<ReadEntry> {
  const unreadable: string[] = [];
  const read: { readonly place: (typeof PLACES)[number]; readonly certificates: readonly Certificate[] }[] = [];
  for (const place of PLACES) {
    const where = `${place.name} of ${shown(entry.dn)}`;
    for (const value of entry.values(place.name)) {
      const contents = await readLargeCertificateStore(value);
      if (contents.kind === "unreadable") unreadable.push(`${where}: ${contents.reason.replace(/\bfile\b/g, "value")}`);
      else for (const { entry: part, reason } of contents.faults) unreadable.push(`${where}: ${part}: ${reason}`);
      if (contents.kind === "store") read.push({ place, certificates: contents.certificates });
    }
  }
  return { read, unreadable, certificates: read.reduce((sum, one) => sum + one.certificates.length, 0) };
}

async function readEntry(entry: LdapEntry, mailbox: Mailbox) {
  const { read, unreadable } = await readValues(entry);
  const companions = uniqueOf(read.flatMap(({ certificates }) => certificates).filter(({ isCa }) => isCa));
  const keys = PLACES.flatMap((place) => {
    const certificates = read.flatMap((one) => (one.place === place ? one.certificates : []));
    return candidatesIn(certificates, mailbox).map((certificate) => smimeKey(certificate, { place, companions }));
  });
  return { keys, unreadable };
}

/** Those that name the mailbox; when none does, all of them, so that it can be said why they do not serve. */
function candidatesIn(certificates: readonly Certificate[], mailbox: Mailbox): readonly Certificate[] {
  const naming = certificates.filter(
    (certificate) => names(certificate, mailbox) && (!certificate.isCa || isSelfIssued(certificate)),
  );
  return naming.length > 0 ? naming : certificates.filter(({ isCa }) => !isCa);
}

function names({ addresses }: Certificate, mailbox: Mailbox): boolean {
  return addresses.some((address) => isFor(address, mailbox));
}

/** `openssl req -x509` marks the certificates of people as CAs. */
function isSelfIssued({ issuerDer, subjectDer }: Certificate): boolean {
  return Buffer.compare(issuerDer, subjectDer) === 0;
}

function uniqueOf(certificates: readonly Certificate[]): Certificate[] {
  return [...new Map(certificates.map((certificate) => [certificate.fingerprint, certificate])).values()];
}
