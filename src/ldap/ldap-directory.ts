// LDAP directory: what is asked of one, and what its entries look like, whoever speaks to it.
import type { Filter } from "ldapts";
import type { Secret } from "../secret.ts";

export type LdapSettings = {
  readonly host: string;
  readonly port: number;
  readonly tls: "off" | "starttls" | "implicit";
  /** PEM; undefined: the system's CAs. */
  readonly ca: string | undefined;
  /** DN to bind with; null: anonymously. */
  readonly user: string | null;
  readonly password: Secret | null;
};

export type LdapSearch = {
  readonly base: string;
  readonly scope: "base" | "sub";
  readonly filter: Filter;
  readonly attributes: readonly string[];
  /** So many entries are enough: there may be more. For probes; a look-up could miss the right key. */
  readonly atMost?: number;
};

/** One entry; `values` gives all values of an attribute in its own order, whatever options (`;binary`) and case its name came with. */
export type LdapEntry = { readonly dn: string; values(attribute: string): readonly Buffer[] };

export type LdapServer = {
  /** How it is spoken to, for people: `bound as cn=…, TLS verified`. */
  readonly access: string;
  /** All entries that match. Rejects with an LdapFault when there may be more or others than what came back. */
  search(search: LdapSearch, signal: AbortSignal): Promise<readonly LdapEntry[]>;
  close(): Promise<void>;
};
