// External LDAP: a directory outside Jira, asked last, as a source of certificates (RULES R7-R9).
import type { SmimeKey } from "../keys/recipient-key.ts";
import type { KeySource } from "../keys/source.ts";
import { certificateSource, filterOf, type DirectoryParts } from "./user-directory.ts";

/** The source `ldap`: entries below the base with `(mail=ADDRESS)` that meet `filter` too. Throws when that is no filter. */
export function externalLdap(parts: DirectoryParts & { readonly filter: string | null }): KeySource<SmimeKey> {
  const { server, baseDn, settingName } = parts;
  const filter = parts.filter === null ? undefined : filterOf(parts.filter, `${settingName}.filter`);
  return certificateSource("ldap", parts, { server, baseDn, filter, mailAttribute: "mail" });
}
