// User directory: an LDAP directory that Jira takes its users from, as a source of certificates.
import { EqualityFilter, PresenceFilter, type Filter } from "ldapts";
import { absent, failed } from "../keys/lookup.ts";
import type { RecipientKey, SmimeKey } from "../keys/recipient-key.ts";
import type { Answer, KeySource, Probe } from "../keys/source.ts";
import { faultOf, LdapFault } from "../ldap/ldap-fault.ts";
import { parseLdapFilter } from "../ldap/ldap-filter.ts";
import type { LdapServer } from "../ldap/ldap-server.ts";
import { needsSmtpUtf8, type Mailbox } from "../mail/address.ts";
import {
  certificatesFor,
  certificatesMissing,
  hereAndElsewhere,
  hiddenFault,
  within,
  type CertificatePlace,
} from "./ldap-certificates.ts";
import { withheldBy } from "./withheld.ts";

export { withheldBy };

export type DirectoryParts = {
  readonly server: LdapServer;
  readonly baseDn: string;
  /** Only addresses of these domains (A-labels) are asked for; empty: all. */
  readonly onlyDomains: readonly string[];
  /** Told each time that an address is sent out. */
  readonly disclosed: () => void;
  /** The setting below which host, baseDn, … stand. */
  readonly settingName: string;
};

/** A directory of Jira as the source `directory:NAME`. Throws when `userFilter` is no filter. */
export function userDirectory(
  parts: DirectoryParts & { readonly name: string; readonly userFilter: string; readonly mailAttribute: string },
): KeySource<SmimeKey> {
  const filter = filterOf(parts.userFilter, `${parts.settingName}.userFilter`);
  const { server, baseDn, mailAttribute } = parts;
  const place = { server, baseDn, filter, mailAttribute };
  return certificateSource(`directory:${parts.name}`, parts, place, { filter: "userFilter" });
}

/**
 * A source that looks certificates up below `place`. What it cannot find out is `failed`. `names` are the settings that are
 * called otherwise than in LdapFault.
 */
export function certificateSource(
  name: string,
  parts: DirectoryParts,
  place: CertificatePlace,
  names: Readonly<Record<string, string>> = {},
): KeySource<SmimeKey> {
  const { onlyDomains, disclosed, settingName } = parts;
  const withholds = (mailbox: Mailbox) => withheldBy(`${settingName}.onlyDomains`, onlyDomains, mailbox);
  return {
    name,
    withholds,
    async find(mailbox, signal) {
      // mail is an IA5String (RFC 4524 2.16): no server has such an address, and some answer as if the filter matched nobody
      if (needsSmtpUtf8(mailbox) || withholds(mailbox) !== undefined) return absent;
      try {
        disclosed();
        return await certificatesFor(place, mailbox, signal);
      } catch (cause) {
        return failureOf(cause, faultOf(cause, settingName, names));
      }
    },
    async probe(signal) {
      try {
        return await probeOf(place, settingName, signal);
      } catch (cause) {
        return { ok: false, detail: faultOf(cause, settingName, names).message };
      }
    },
  };
}

/** The answer to a look-up that rejected with `cause`, said as `fault`; of one that lies in this address only, it says so. */
export function failureOf<K extends RecipientKey>(cause: unknown, fault: Error): Answer<K> {
  return cause instanceof LdapFault && cause.isOnlyHere ? { ...failed(fault), isOnlyHere: true } : failed(fault);
}

/** The filter of a setting. Throws, naming the setting, when it is none: reading the configuration has refused it before. */
export function filterOf(text: string, setting: string): Filter {
  const filter = parseLdapFilter(text);
  if ("fault" in filter) throw new Error(`${setting} is no LDAP filter: ${filter.fault}`);
  return filter;
}

async function probeOf(place: CertificatePlace, settingName: string, signal: AbortSignal): Promise<Probe> {
  const { server, baseDn, mailAttribute } = place;
  const ask = (scope: "base" | "sub", asked: Filter, atMost = 1) =>
    server.search({ base: baseDn, scope, filter: asked, attributes: [mailAttribute], atMost }, signal);

  // fails when the base does not exist
  await ask("base", new PresenceFilter({ attribute: "objectClass" }));
  const someone = within(place, new PresenceFilter({ attribute: mailAttribute }));
  const { entries: match } = await hereAndElsewhere(ask("sub", someone));
  if (match.length === 0)
    return {
      ok: false,
      detail: `${server.access}; no entry below ${baseDn} matches ${someone.toString()}; see ${settingName}`,
    };
  const hidden = hiddenFault(match, mailAttribute);
  if (hidden !== undefined) throw hidden;
  // a look-up that finds nobody: here shows that the server refers elsewhere for a part of the base
  await ask("sub", within(place, new EqualityFilter({ attribute: mailAttribute, value: NOBODY })));
  const missing = await certificatesMissing(place, signal);
  if (missing !== undefined) return { ok: false, detail: `${server.access}; ${missing}; see ${settingName}` };
  return {
    ok: true,
    detail: `${server.access}; the filter matches users below ${baseDn}, and certificates can be read`,
  };
}

/** RFC 2606 2: no such domain. */
const NOBODY = "sealpost-verify@invalid";
