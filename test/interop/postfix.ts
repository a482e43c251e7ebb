// A real Postfix that stores mail in mailboxes and takes it only by TLS.
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ServerCertificate } from "../authority.ts";
import { groupId, startInstance, userId, type PostfixInstance } from "../postfix-instance.ts";

export type Postfix = PostfixInstance & {
  /** The messages in this mailbox as Postfix stored them, line ends as CRLF. */
  mailbox(address: string): Buffer[];
};

/** Delivers to these mailboxes as user nobody and refuses mail without STARTTLS. */
export async function startPostfix(certificate: ServerCertificate, mailboxes: readonly string[]): Promise<Postfix> {
  const folderOf = (address: string) => `${address.replace("@", ".at.")}/`;
  const instance = await startInstance((folder) => {
    const at = (name: string) => join(folder, name);
    mkdirSync(at("mail"));
    chownSync(at("mail"), userId("nobody"), groupId("nobody"));
    writeFileSync(at("etc/server.pem"), certificate.cert);
    writeFileSync(at("etc/server.key"), certificate.key, { mode: 0o600 });
    writeFileSync(at("etc/mailboxes"), mailboxes.map((address) => `${address} ${folderOf(address)}\n`).join(""));
    return { main: mainCf(folder, mailboxes), master: ["virtual unix - n n - - virtual"] };
  });
  return {
    ...instance,
    mailbox(address) {
      const arrived = join(instance.folder, `mail/${folderOf(address)}new`);
      const names = existsSync(arrived) ? readdirSync(arrived).sort() : [];
      // a Maildir has LF line ends
      const text = (name: string) => readFileSync(join(arrived, name)).toString("latin1");
      return names.map((name) => Buffer.from(text(name).replace(/\n/g, "\r\n"), "latin1"));
    },
  };
}

function mainCf(folder: string, mailboxes: readonly string[]): Record<string, string> {
  const domains = [...new Set(mailboxes.map((address) => address.slice(address.lastIndexOf("@") + 1)))];
  return {
    myhostname: "mx.postfix.test",
    default_transport: "error:this server sends nothing on",
    virtual_mailbox_domains: domains.join(" "),
    virtual_mailbox_base: `${folder}/mail`,
    virtual_mailbox_maps: `texthash:${folder}/etc/mailboxes`,
    virtual_minimum_uid: "1",
    virtual_uid_maps: `static:${userId("nobody")}`,
    virtual_gid_maps: `static:${groupId("nobody")}`,
    virtual_mailbox_limit: "0",
    smtpd_tls_security_level: "encrypt",
    smtpd_tls_cert_file: `${folder}/etc/server.pem`,
    smtpd_tls_key_file: `${folder}/etc/server.key`,
    smtpd_tls_received_header: "yes",
  };
}
