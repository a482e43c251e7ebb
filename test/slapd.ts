// A real OpenLDAP server over the shared fixtures, in one of its three shapes, on ports of its own; stopped by its process id.
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { LdapSettings } from "../src/ldap/ldap-server.ts";
import { Secret } from "../src/secret.ts";
import { fixture } from "./fixtures.ts";
import { freePortPair } from "./free-port.ts";

const run = promisify(execFile);

/** `openldap` keeps certificates as OpenLDAP does, `ad` as Active Directory, `pgpcom` keys as PGP.com's key server. */
export type SlapdMode = "openldap" | "ad" | "pgpcom";

export type Slapd = {
  /** For ldap:// and StartTLS. */
  readonly port: number;
  /** For ldaps://. */
  readonly tlsPort: number;
  /** PEM of the CA of its certificate, which is for localhost and 127.0.0.1. */
  readonly ca: string;
  /** What it has logged so far: connections, binds and filters as it understood them. */
  log(): string;
  /** Resolves with the log once it is as awaited. */
  logged(isThere: (log: string) => boolean): Promise<string>;
  /** Applies LDIF changes as the administrator. */
  modify(ldif: string): Promise<void>;
  /** In clear and anonymous, but for what is given. */
  settings(own?: Partial<LdapSettings>): LdapSettings;
  stop(): Promise<void>;
};

/** The one user with a password. */
export const READER = { user: "cn=reader,ou=service,dc=example,dc=com", password: new Secret("readerpw") };

export async function startSlapd(mode: SlapdMode): Promise<Slapd> {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-slapd-"));
  const port = await freePortPair();
  await run("bash", [fixture("servers/slapd-up.sh"), String(port), folder, mode]);
  const log = () => readFileSync(join(folder, "slapd.log"), "utf8");
  return {
    port,
    tlsPort: port + 1,
    ca: readFileSync(join(folder, "tls/ca.pem"), "utf8"),
    log,
    async logged(isThere) {
      // each question to the server makes it write what it had in hand before
      while (!isThere(log()))
        await run("ldapsearch", ["-x", "-H", `ldap://127.0.0.1:${port}`, "-s", "base"]).catch(() => undefined);
      return log();
    },
    async modify(ldif) {
      const admin = ["-x", "-D", "cn=admin,dc=example,dc=com", "-w", "adminpw", "-H", `ldap://127.0.0.1:${port}`];
      const child = run("ldapmodify", admin);
      child.child.stdin?.end(ldif);
      await child;
    },
    settings: (own = {}) => ({
      host: "127.0.0.1",
      port,
      tls: "off",
      ca: undefined,
      user: null,
      password: null,
      ...own,
    }),
    async stop() {
      await run("bash", [fixture("servers/slapd-down.sh"), folder]);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
