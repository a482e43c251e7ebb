// Key settings: where keys come from, how they are used and how long they are remembered.
import { z } from "zod";
import { duration } from "./amounts.ts";
import { file, pemFile, secretFile } from "./files.ts";
import { fault } from "./checks.ts";
import { externalLdap, userDirectories } from "./ldap-settings.ts";
import { whole, words } from "./leaf.ts";
import { domain, listPlace, proxy, url } from "./places.ts";

const userUpload = (what: string) =>
  z
    .strictObject({
      users: z.boolean().prefault(true).describe(`Whether Jira users may upload their own ${what}.`),
      customers: z.boolean().prefault(false).describe(`Whether service-desk customers may upload their own ${what}.`),
    })
    .prefault({})
    .describe(`Who may upload an own ${what} on the self-service page.`);

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
      userDirectories: userDirectories(),
      ldap: externalLdap(),
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
      intermediates: z
        .array(pemFile())
        .prefault([])
        .describe("PEM files with further CA certificates, to make paths of; they are not believed by themselves."),
      check: z
        .boolean()
        .prefault(false)
        .describe("Whether every certificate needs a path to an anchor, not only harvested ones."),
      crls: z
        .array(listPlace())
        .prefault([])
        .describe("Revocation lists (CRL) of these CAs: files or http(s) URLs; looked at whenever a path is checked."),
      onMissingCrl: z
        .enum(["accept", "wait"])
        .prefault("accept")
        .describe("Without a current list of an issuer: accept its certificates, or let the mail wait."),
      minRsaBits: whole(1024, 16_384).prefault(2048).describe("RSA keys below this many bits are not used."),
    })
    .superRefine(({ anchors, check, crls }, context) => {
      if (check && anchors.length === 0) fault(context, ["anchors"], "needed when check is true");
      if (crls.length > 0 && anchors.length === 0) fault(context, ["crls"], "of no use without anchors");
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
      keyServer: keyServer(),
      wkd: z.boolean().prefault(false).describe("Whether the Web Key Directory of the recipient's domain is asked."),
      wkdOnlyDomains: z
        .array(domain())
        .prefault([])
        .describe("Only the Web Key Directories of these domains are asked; empty: all."),
    })
    .prefault({})
    .describe("OpenPGP: where keys come from.");
}

const keyServer = () =>
  z
    .strictObject({
      url: url(["hkps", "hkp", "https", "http", "ldaps", "ldap"], "hkps://keys.example.com", {
        mayBeEmpty: true,
      }).describe("URL of the key server (hkps, hkp, https, http: HKP; ldaps, ldap: LDAP); empty: not used."),
      proxy: proxy().prefault("env").describe("env (HTTPS_PROXY, NO_PROXY), none, or the URL of an HTTP proxy."),
      ca: pemFile().nullable().prefault(null).describe("PEM file with the CAs to believe; null: the system's."),
      startTls: z.boolean().prefault(false).describe("With ldap://: ask for StartTLS before anything else."),
      user: words("the name to bind with").nullable().prefault(null).describe("With ldap(s)://: DN to bind with."),
      passwordFile: secretFile().nullable().prefault(null).describe("File with the password of that DN."),
      onlyDomains: z
        .array(domain())
        .prefault([])
        .describe("Only addresses of these domains are sent to the key server; empty: all."),
    })
    .superRefine(({ url, proxy, startTls, user, passwordFile }, context) => {
      const isLdap = /^ldaps?:/i.test(url);
      if (startTls && !/^ldap:/i.test(url)) fault(context, ["startTls"], "only an ldap:// URL has StartTLS");
      if (isLdap && proxy !== "env" && proxy !== "none")
        fault(context, ["proxy"], "an LDAP key server is not reached through an HTTP proxy");
      if (user !== null && !isLdap) fault(context, ["user"], "only an ldap:// or ldaps:// key server has a login");
      if (user !== null && passwordFile === null) fault(context, ["passwordFile"], "needed when user is set");
      if (user === null && passwordFile !== null) fault(context, ["user"], "needed when passwordFile is set");
      if (/[?#]/.test(url)) fault(context, ["url"], "must hold no ? and no #");
    })
    .nullable()
    .prefault(null)
    .describe("An HKP or LDAP key server; addresses are sent to it. null for none.");

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
