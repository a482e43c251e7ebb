// Postfix as the relay: alone, in clear and durable; or with a content filter that calls `openssl cms` for each mail.
import { chmodSync, copyFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fixture } from "../../test/fixtures.ts";
import { startInstance } from "../../test/postfix-instance.ts";
import type { Peer } from "./peer.ts";

const FILTERS_AT_ONCE = 8;

/** Passes everything on to the sink. With `filter` each mail is encrypted on the way, which curl then hands to the sink. */
export async function startPostfixRelay(sinkPort: number, filter: boolean): Promise<Peer> {
  const instance = await startInstance((folder) => {
    const main = {
      myhostname: "peer.postfix.test",
      relayhost: `[127.0.0.1]:${sinkPort}`,
      smtp_tls_security_level: "none",
      ...(filter ? { content_filter: "cms:dummy" } : {}),
    };
    const smtp = "smtp unix - - n - - smtp";
    if (!filter) return { main, master: [smtp] };
    const script = join(folder, "filter.sh");
    const certificate = join(folder, "alice.pem");
    copyFileSync(fixture("smime/certs/alice.pem"), certificate);
    chmodSync(certificate, 0o644);
    writeFileSync(script, filterScript(certificate, sinkPort));
    chmodSync(script, 0o755);
    const pipe = `cms unix - n n - ${FILTERS_AT_ONCE} pipe flags=q user=nobody argv=${script} \${sender} \${recipient}`;
    return { main, master: [smtp, pipe] };
  });
  const name = filter ? "Postfix with an openssl cms filter" : "Postfix alone, in clear";
  return { name, port: instance.port, recipient: "alice@example.com", stop: () => instance.stop() };
}

function filterScript(certificate: string, sinkPort: number): string {
  return `#!/bin/sh
set -e
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cat > "$dir/in"
{
  sed -n '/^Message-ID:/Ip;/^\\r*$/q' "$dir/in"
  openssl cms -encrypt -aes-256-cbc -stream -in "$dir/in" -outform SMIME ${certificate}
} > "$dir/out"
curl -sS --crlf --url smtp://127.0.0.1:${sinkPort} --mail-from "$1" --mail-rcpt "$2" --upload-file "$dir/out"
`;
}
