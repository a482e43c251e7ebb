// A real Postfix of its own: configuration, queue and mailboxes in a scratch folder, TLS required, stopped by its own folder.
import { execFile, execFileSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { ServerCertificate } from "../authority.ts";
import { freePort } from "../free-port.ts";

const run = promisify(execFile);

export type Postfix = {
  readonly port: number;
  /** The messages in this mailbox as Postfix stored them, line ends as CRLF. */
  mailbox(address: string): Buffer[];
  log(): string;
  stop(): Promise<void>;
};

/** Must run as root, as Postfix itself must. Delivers to these mailboxes as user nobody and refuses mail without STARTTLS. */
export async function startPostfix(certificate: ServerCertificate, mailboxes: readonly string[]): Promise<Postfix> {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-postfix-"));
  chmodSync(folder, 0o755);
  const at = (name: string) => join(folder, name);
  for (const name of ["etc", "queue", "data", "mail"]) mkdirSync(at(name));
  chownSync(at("data"), userId("postfix"), 0);
  chownSync(at("mail"), userId("nobody"), groupId("nobody"));
  const port = await freePort();
  writeFileSync(at("etc/server.pem"), certificate.cert);
  writeFileSync(at("etc/server.key"), certificate.key, { mode: 0o600 });
  const folderOf = (address: string) => `${address.replace("@", ".at.")}/`;
  writeFileSync(at("etc/mailboxes"), mailboxes.map((address) => `${address} ${folderOf(address)}\n`).join(""));
  writeFileSync(at("etc/main.cf"), mainCf(folder, mailboxes));
  writeFileSync(at("etc/master.cf"), masterCf(port));
  const log = () => (existsSync(at("data/log")) ? readFileSync(at("data/log"), "utf8") : "");
  try {
    await run("postfix", ["-c", at("etc"), "start"]);
  } catch (cause) {
    throw new Error(`postfix does not start: ${log()}`, { cause });
  }
  return {
    port,
    log,
    mailbox(address) {
      const arrived = at(`mail/${folderOf(address)}new`);
      const names = existsSync(arrived) ? readdirSync(arrived).sort() : [];
      // a Maildir has LF line ends
      const text = (name: string) => readFileSync(join(arrived, name)).toString("latin1");
      return names.map((name) => Buffer.from(text(name).replace(/\n/g, "\r\n"), "latin1"));
    },
    async stop() {
      await run("postfix", ["-c", at("etc"), "stop"]);
      rmSync(folder, { recursive: true });
    },
  };
}

function mainCf(folder: string, mailboxes: readonly string[]): string {
  const domains = [...new Set(mailboxes.map((address) => address.slice(address.lastIndexOf("@") + 1)))];
  const settings: Record<string, string> = {
    compatibility_level: "3.6",
    queue_directory: `${folder}/queue`,
    data_directory: `${folder}/data`,
    maillog_file: `${folder}/data/log`,
    maillog_file_prefixes: folder,
    myhostname: "mx.postfix.test",
    mydestination: "",
    inet_interfaces: "127.0.0.1",
    inet_protocols: "ipv4",
    mynetworks: "127.0.0.0/8",
    default_transport: "error:this server sends nothing on",
    alias_maps: "",
    virtual_mailbox_domains: domains.join(" "),
    virtual_mailbox_base: `${folder}/mail`,
    virtual_mailbox_maps: `texthash:${folder}/etc/mailboxes`,
    virtual_minimum_uid: "1",
    virtual_uid_maps: `static:${userId("nobody")}`,
    virtual_gid_maps: `static:${groupId("nobody")}`,
    virtual_mailbox_limit: "0",
    message_size_limit: "104857600",
    smtpd_tls_security_level: "encrypt",
    smtpd_tls_cert_file: `${folder}/etc/server.pem`,
    smtpd_tls_key_file: `${folder}/etc/server.key`,
    smtpd_tls_received_header: "yes",
  };
  return Object.entries(settings)
    .map(([name, value]) => `${name} = ${value}\n`)
    .join("");
}

/** The daemons that receiving and delivering need, none in a chroot. */
function masterCf(port: number): string {
  return [
    `127.0.0.1:${port} inet n - n - - smtpd`,
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "rewrite unix - - n - - trivial-rewrite",
    "bounce unix - - n - 0 bounce",
    "defer unix - - n - 0 bounce",
    "trace unix - - n - 0 bounce",
    "proxymap unix - - n - - proxymap",
    "error unix - - n - - error",
    "retry unix - - n - - error",
    "virtual unix - n n - - virtual",
    "anvil unix - - n - 1 anvil",
    "postlog unix-dgram n - n - 1 postlogd\n",
  ].join("\n");
}

const userId = (name: string) => Number(execFileSync("id", ["-u", name], { encoding: "utf8" }));
const groupId = (name: string) => Number(execFileSync("id", ["-g", name], { encoding: "utf8" }));
