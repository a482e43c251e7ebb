// Postfix as the relay: alone, in clear and durable; or with a content filter that calls `openssl cms` for each mail.
import { chmodSync, copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fixture } from "../../test/fixtures.ts";
import { freePort } from "../../test/free-port.ts";
import { startInstance } from "../../test/postfix-instance.ts";
import type { ServerTls } from "../load/lane.ts";
import type { Peer } from "./peer.ts";

export type PostfixOptions = {
  readonly sinkPort: number;
  /** Each mail is encrypted on the way, and handed back to Postfix, as its FILTER_README and the usual gateways do. */
  readonly isFiltering: boolean;
  /** STARTTLS on both sides. */
  readonly tls?: ServerTls | undefined;
};

const FILTERS_AT_ONCE = 8;

/** Passes everything on to the sink. */
export async function startPostfixRelay({ sinkPort, isFiltering, tls }: PostfixOptions): Promise<Peer> {
  const backPort = await freePort();
  const instance = await startInstance((folder) => {
    const main = {
      myhostname: "peer.postfix.test",
      relayhost: `[127.0.0.1]:${sinkPort}`,
      ...(tls === undefined ? { smtp_tls_security_level: "none" } : tlsSettings(folder, tls)),
      ...(isFiltering ? { content_filter: "cms:dummy" } : {}),
    };
    const smtp = "smtp unix - - n - - smtp";
    if (!isFiltering) return { main, master: [smtp] };
    const script = join(folder, "filter.sh");
    const certificate = join(folder, "alice.pem");
    copyFileSync(fixture("smime/certs/alice.pem"), certificate);
    chmodSync(certificate, 0o644);
    writeFileSync(script, filterScript(certificate, backPort));
    chmodSync(script, 0o755);
    const pipe = `cms unix - n n - ${FILTERS_AT_ONCE} pipe flags=q user=nobody argv=${script} \${sender} \${recipient}`;
    const back = `127.0.0.1:${backPort} inet n - n - - smtpd -o content_filter= -o smtpd_tls_security_level=none`;
    return { main, master: [smtp, pipe, back] };
  });
  const name = isFiltering ? "Postfix with an openssl cms filter" : "Postfix alone, in clear";
  return { name, port: instance.port, recipient: "alice@example.com", stop: () => instance.stop() };
}

function tlsSettings(folder: string, tls: ServerTls): Record<string, string> {
  const at = (name: string) => join(folder, "etc", name);
  writeFileSync(at("server.pem"), tls.cert);
  writeFileSync(at("server.key"), tls.key, { mode: 0o600 });
  writeFileSync(at("ca.pem"), tls.ca);
  return {
    smtpd_tls_security_level: "may",
    smtpd_tls_cert_file: at("server.pem"),
    smtpd_tls_key_file: at("server.key"),
    smtp_tls_security_level: "encrypt",
    smtp_tls_CAfile: at("ca.pem"),
  };
}

function filterScript(certificate: string, backPort: number): string {
  return `#!/bin/sh
set -e
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/in"
{
  sed -n '/^Message-ID:/Ip;/^\\r*$/q' "$dir/in"
  openssl cms -encrypt -aes-256-cbc -stream -in "$dir/in" -outform SMIME ${certificate}
} > "$dir/out"
curl -sS --crlf --url smtp://127.0.0.1:${backPort} --mail-from "$1" --mail-rcpt "$2" --upload-file "$dir/out" || exit 75
`;
}
