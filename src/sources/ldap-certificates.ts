// LDAP certificates: what a directory holds for one address, as candidates: userSMIMECertificate before userCertificate (RULES R5).
import { AndFilter, EqualityFilter, type Filter } from "ldapts";
import { LdapFault } from "../ldap/ldap-fault.ts";
import type { LdapEntry, LdapServer } from "../ldap/ldap-server.ts";
import { parseMailbox, type Mailbox } from "../mail/address.ts";
import { absent, found } from "../keys/lookup.ts";
import { smimeKey, type SmimeKey } from "../keys/recipient-key.ts";
import type { Answer } from "../keys/source.ts";
import type { Certificate } from "../smime/certificate.ts";
import { readCertificateStore } from "../smime/certificate-store.ts";

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

/** All certificates of all entries that have this address. Rejects with an LdapFault. */
export async function certificatesFor(
  place: CertificatePlace,
  mailbox: Mailbox,
  signal: AbortSignal,
): Promise<Answer<SmimeKey>> {
  const { entries, fault } = await entriesFor(place, mailbox, signal);
  const own = entries.filter((entry) => hasAddress(entry, place.mailAttribute, mailbox));
  const keys = new Map<string, SmimeKey>();
  const unreadable: string[] = [];
  for (const entry of own) {
    const offer = readEntry(entry, mailbox);
    unreadable.push(...offer.unreadable);
    for (const key of offer.keys) {
      const known = keys.get(key.fingerprint);
      if (known === undefined || (known.place?.rank ?? 0) > (key.place?.rank ?? 0)) keys.set(key.fingerprint, key);
    }
  }
  // who has no certificate here may have one where the server refers to
  if (fault !== undefined && keys.size === 0) throw fault;
  const noted = unreadable.length > 0 ? { setAside: unreadable } : {};
  return keys.size === 0 ? { ...absent, ...noted } : { ...found([...keys.values()]), ...noted };
}

/** Entries of this server's part of the directory; `fault` tells that there are other parts. */
async function entriesFor(place: CertificatePlace, mailbox: Mailbox, signal: AbortSignal) {
  const { server, baseDn, filter, mailAttribute } = place;
  // no text is put together here: whatever the address holds stays a value (RFC 4515 3)
  const equality = new EqualityFilter({ attribute: mailAttribute, value: mailbox.address });
  const search = {
    base: baseDn,
    scope: "sub",
    filter: filter === undefined ? equality : new AndFilter({ filters: [filter, equality] }),
    attributes: [...ATTRIBUTES, mailAttribute],
  } as const;
  try {
    return { entries: await server.search(search, signal), fault: undefined };
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

function readEntry(entry: LdapEntry, mailbox: Mailbox) {
  const unreadable: string[] = [];
  const read = PLACES.map((place) => {
    const certificates = entry.values(place.name).flatMap((value) => {
      const contents = readCertificateStore(value);
      const where = `${place.name} of ${entry.dn}`;
      if (contents.kind === "unreadable") unreadable.push(`${where}: ${contents.reason.replace(/\bfile\b/g, "value")}`);
      else unreadable.push(...contents.faults.map((fault) => `${where}: ${fault.entry}: ${fault.reason}`));
      return contents.kind === "store" ? contents.certificates : [];
    });
    return { place, certificates };
  });
  const companions = uniqueOf(read.flatMap(({ certificates }) => certificates).filter(({ isCa }) => isCa));
  const keys = read.flatMap(({ place, certificates }) =>
    candidatesIn(certificates, mailbox).map((certificate) => smimeKey(certificate, { place, companions })),
  );
  return { keys, unreadable };
}

/** Those that name the mailbox; when none does, all of them, so that it can be said why they do not serve. */
function candidatesIn(certificates: readonly Certificate[], mailbox: Mailbox): readonly Certificate[] {
  const naming = certificates.filter(
    (certificate) =>
      certificate.addresses.some((address) => isFor(address, mailbox)) &&
      (!certificate.isCa || isSelfIssued(certificate)),
  );
  return naming.length > 0 ? naming : certificates.filter(({ isCa }) => !isCa);
}

/** `openssl req -x509` marks the certificates of people as CAs. */
function isSelfIssued({ issuerDer, subjectDer }: Certificate): boolean {
  return Buffer.compare(issuerDer, subjectDer) === 0;
}

function uniqueOf(certificates: readonly Certificate[]): Certificate[] {
  return [...new Map(certificates.map((certificate) => [certificate.fingerprint, certificate])).values()];
}
