// LDAP settings: Jira's own directories and an LDAP server outside, where certificates are looked up.
import { z } from "zod";
import { fault, noneTwice, type Context } from "./checks.ts";
import { pemFile, secretFile } from "./files.ts";
import { shown, textLeaf, words, Wrong } from "./leaf.ts";
import { port } from "./listeners.ts";
import { domain, host } from "./places.ts";
import { parseLdapFilter } from "../ldap/ldap-filter.ts";

const ldapAccess = {
  host: host().describe("Host name of the LDAP server, without ldap://."),
  port: port().prefault(636).describe("Port of the LDAP server: 636 with tls implicit, usually 389 otherwise."),
  tls: z
    .enum(["off", "starttls", "implicit"])
    .prefault("implicit")
    .describe("off, starttls or implicit (TLS from the first byte); the certificate is verified."),
  ca: pemFile().nullable().prefault(null).describe("PEM file with the CAs to believe; null: the system's."),
  user: words("the name to bind with").nullable().prefault(null).describe("DN to bind with; without it, anonymously."),
  passwordFile: secretFile().nullable().prefault(null).describe("File with the password of that DN."),
  baseDn: words("a DN such as ou=people,dc=example,dc=com").describe("DN below which is searched."),
};

type Access = { readonly port: number; readonly tls: string; readonly user: unknown; readonly passwordFile: unknown };

function checkAccess({ port, tls, user, passwordFile }: Access, context: Context): void {
  if (port === 636 && tls !== "implicit")
    fault(context, ["port"], `636 speaks TLS from the first byte; set tls: implicit, or port: 389 for ${tls}`);
  // RFC 4513 5.1.2: a name without a password would be an anonymous login that looks like one with a name
  if (user !== null && passwordFile === null) fault(context, ["passwordFile"], "needed when user is set");
  if (user === null && passwordFile !== null) fault(context, ["user"], "needed when passwordFile is set");
}

/** An LDAP filter (RFC 4515), with or without the outer parentheses. */
const ldapFilter = () =>
  textLeaf<string>(
    "an LDAP filter such as (objectClass=person)",
    { minLength: 1 },
    (text) => {
      const parsed = parseLdapFilter(text);
      return "fault" in parsed
        ? new Wrong(`must be an LDAP filter such as (objectClass=person): ${parsed.fault}`)
        : text;
    },
    (text) => text,
  );

const attribute = () =>
  textLeaf<string>(
    "the name of an attribute",
    { pattern: "^[A-Za-z][A-Za-z0-9-]*$" },
    (text) =>
      /^[a-z][a-z0-9-]*$/i.test(text) ? text : new Wrong(`must be the name of an attribute, not ${shown(text)}`),
    (text) => text,
  );

const directoryName = () =>
  textLeaf<string>(
    "a name of letters, digits and hyphens",
    { pattern: "^[A-Za-z0-9][A-Za-z0-9-]*$" },
    (text) =>
      /^[a-z0-9][a-z0-9-]*$/i.test(text) ? text : new Wrong(`must be letters, digits and hyphens, not ${shown(text)}`),
    (text) => text,
  );

const onlyDomains = (whom: string) =>
  z.array(domain()).prefault([]).describe(`Only addresses of these domains are sent to ${whom}; empty: all.`);

const userDirectory = () =>
  z
    .strictObject({
      name: directoryName().describe("Name of the directory, as in directory:NAME of logs and explain."),
      ...ldapAccess,
      userFilter: ldapFilter()
        .prefault("(objectClass=inetOrgPerson)")
        .describe("Filter that users meet; the look-up adds the address."),
      mailAttribute: attribute().prefault("mail").describe("Attribute that holds the address."),
      onlyDomains: onlyDomains("this directory"),
    })
    .superRefine(checkAccess);

/** `smime.userDirectories`. */
export const userDirectories = () =>
  z
    .array(userDirectory())
    .superRefine((directories, context) =>
      noneTwice(
        directories.map(({ name }) => name),
        context,
        "name",
      ),
    )
    .prefault([])
    .describe("The LDAP directories that Jira takes its users from, asked in this order.");

/** `smime.ldap`. */
export const externalLdap = () =>
  z
    .strictObject({
      ...ldapAccess,
      filter: ldapFilter().nullable().prefault(null).describe("Filter that an entry must meet beside (mail=ADDRESS)."),
      onlyDomains: onlyDomains("this server"),
    })
    .superRefine(checkAccess)
    .nullable()
    .prefault(null)
    .describe("An LDAP server outside Jira, asked last; addresses are sent to it. null for none.");
