// Key settings: where keys come from, how they are used and how long they are remembered.
import { z } from "zod";
import { duration } from "./amounts.ts";
import { file, pemFile, secretFile } from "./files.ts";
import { shown, textLeaf, whole, words, Wrong } from "./leaf.ts";
import { port } from "./listeners.ts";
import { domain, host, proxy, url } from "./places.ts";

const ldapTls = () => z.enum(["off", "starttls", "implicit"]);

const userUpload = (what: string) =>
  z
    .strictObject({
      users: z.boolean().prefault(true).describe(`Whether Jira users may upload their own ${what}.`),
      customers: z.boolean().prefault(false).describe(`Whether service-desk customers may upload their own ${what}.`),
    })
    .prefault({})
    .describe(`Who may upload an own ${what} on the self-service page.`);

const ldapAccess = {
  host: host().describe("Host name of the LDAP server, without ldap://."),
  port: port().prefault(636).describe("Port of the LDAP server: 636 with tls implicit, usually 389 otherwise."),
  tls: ldapTls().prefault("implicit").describe("off, starttls or implicit (TLS from the first byte)."),
  user: words("the name to bind with").nullable().prefault(null).describe("DN to bind with; without it, anonymously."),
  passwordFile: secretFile().nullable().prefault(null).describe("File with the password of that DN."),
  baseDn: words("a DN such as ou=people,dc=example,dc=com").describe("DN below which is searched."),
};

const directoryName = () =>
  textLeaf<string>(
    "a name of letters, digits and hyphens",
    { pattern: "^[A-Za-z0-9][A-Za-z0-9-]*$" },
    (text) =>
      /^[a-z0-9][a-z0-9-]*$/i.test(text) ? text : new Wrong(`must be letters, digits and hyphens, not ${shown(text)}`),
    (text) => text,
  );

const userDirectory = () =>
  z.strictObject({
    name: directoryName().describe("Name of the directory, as in directory:NAME of logs and explain."),
    ...ldapAccess,
    userFilter: words("an LDAP filter")
      .prefault("(objectClass=inetOrgPerson)")
      .describe("Filter that users meet; the look-up adds the address."),
    mailAttribute: words("the name of an attribute").prefault("mail").describe("Attribute that holds the address."),
  });

/** `smime`: certificates, where they come from and how they are used. */
export function smimeSection() {
  return z
    .strictObject({
      userUpload: userUpload("certificate"),
      incoming: z.boolean().prefault(true).describe("Whether certificates learned from incoming signed mail are used."),
      keyStore: z
        .strictObject({
          file: file().describe("File with certificates: PKCS#7 (DER or PEM), PEM, BKS or JKS; told apart by content."),
          passwordFile: secretFile()
            .nullable()
            .prefault(null)
            .describe("File with the password that proves a BKS or JKS file intact; not needed to read it."),
        })
        .nullable()
        .prefault(null)
        .describe("A file with the certificates of many recipients; null for none."),
      userDirectories: z
        .array(userDirectory())
        .prefault([])
        .describe("The LDAP directories that Jira takes its users from, asked in this order."),
      ldap: z
        .strictObject({
          ...ldapAccess,
          filter: words("an LDAP filter")
            .nullable()
            .prefault(null)
            .describe("Filter that an entry must meet beside (mail=ADDRESS)."),
        })
        .nullable()
        .prefault(null)
        .describe("An LDAP server outside Jira, asked last; addresses are sent to it. null for none."),
      contentEncryption: z
        .enum(["aes256-cbc", "aes256-gcm", "auto"])
        .prefault("aes256-cbc")
        .describe("aes256-cbc (read by all), aes256-gcm, or auto: what the recipient's client announced."),
      keyTransport: z
        .enum(["rsa-pkcs1", "rsa-oaep", "auto"])
        .prefault("rsa-pkcs1")
        .describe("rsa-pkcs1 (read by all), rsa-oaep, or auto: what the recipient's client announced."),
      trust: trust(),
    })
    .prefault({})
    .describe("S/MIME: where certificates come from and how they are used.");
}

const trust = () =>
  z
    .strictObject({
      anchors: z.array(pemFile()).prefault([]).describe("PEM files with the CA certificates that are believed."),
      check: z
        .boolean()
        .prefault(false)
        .describe("Whether every certificate needs a path to an anchor, not only harvested ones."),
      minRsaBits: whole(1024, 16_384).prefault(2048).describe("RSA keys below this many bits are not used."),
    })
    .prefault({})
    .describe("Which certificates are believed.");

/** `pgp`: OpenPGP certificates and where they come from. */
export function pgpSection() {
  return z
    .strictObject({
      userUpload: userUpload("OpenPGP key"),
      incoming: z.boolean().prefault(true).describe("Whether keys learned from incoming signed mail are used."),
      keyStore: z
        .strictObject({
          file: file().describe("File with OpenPGP keys: armored, binary or keybox; told apart by content."),
        })
        .nullable()
        .prefault(null)
        .describe("A file with the public keys of many recipients; null for none."),
      keyServer: z
        .strictObject({
          url: url(["hkps", "hkp", "https", "http", "ldaps", "ldap"], "hkps://keys.example.com", {
            mayBeEmpty: true,
          }).describe("URL of the key server; empty: not used."),
          proxy: proxy().prefault("env").describe("env (HTTPS_PROXY, NO_PROXY), none, or the URL of an HTTP proxy."),
          onlyDomains: z
            .array(domain())
            .prefault([])
            .describe("Only addresses of these domains are sent to the key server; empty: all."),
        })
        .nullable()
        .prefault(null)
        .describe("An HKP or LDAP key server; addresses are sent to it. null for none."),
      wkd: z.boolean().prefault(false).describe("Whether the Web Key Directory of the recipient's domain is asked."),
    })
    .prefault({})
    .describe("OpenPGP: where keys come from.");
}

export const cacheSection = () =>
  z
    .strictObject({
      ttl: duration({ mayBeZero: true })
        .prefault("24h")
        .describe("How long a key from a server is used before it is asked for again."),
      absentTtl: duration({ mayBeZero: true })
        .prefault("15m")
        .describe("How long a server's answer that it has no key is believed."),
    })
    .prefault({})
    .describe("Memory of what servers answered; failures are never kept.");
