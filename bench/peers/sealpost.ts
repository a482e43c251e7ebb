// Ours: the whole relay as its users start it, with the recipient's key in a key store or none at all.
import { fixtureBytes } from "../../test/fixtures.ts";
import { startRelay, type Relay } from "../../test/relay.ts";
import type { ServerTls } from "../load/lane.ts";
import type { Peer } from "./peer.ts";

export type Treatment = "clear" | "smime" | "pgp";
export type SealpostOptions = {
  readonly sinkPort: number;
  readonly treatment: Treatment;
  /** STARTTLS on both sides, with this certificate. */
  readonly tls?: ServerTls | undefined;
  /** As the configuration has it: `600MiB`. */
  readonly maxMessageSize?: string;
  /** Further arguments of Node for the relay. */
  readonly nodeOptions?: string;
};

const KEYS: Readonly<Record<Treatment, string>> = {
  clear: "encryption: { fallback: allow }",
  smime: "smime: { keyStore: { file: alice.pem } }",
  pgp: "encryption: { type: pgp-only }\npgp: { keyStore: { file: joe.gpg } }",
};
const RECIPIENTS: Readonly<Record<Treatment, string>> = {
  clear: "nobody@example.net",
  smime: "alice@example.com",
  pgp: "joe@example.org",
};

export async function startSealpost(options: SealpostOptions): Promise<Peer & { readonly relay: Relay }> {
  const { sinkPort, treatment, tls, maxMessageSize = "50MiB", nodeOptions } = options;
  const upstreamTls = tls === undefined ? "tls: off" : "tls: required, ca: ca.pem";
  const listenerTls = tls === undefined ? "" : ", tls: { mode: starttls, cert: server.pem, key: server.key }";
  const relay = await startRelay(
    [
      `upstream: { host: 127.0.0.1, port: ${sinkPort}, ${upstreamTls} }`,
      `outbound: { listen: 127.0.0.1:0, maxMessageSize: ${maxMessageSize}${listenerTls} }`,
      "log: { level: info }",
      KEYS[treatment],
    ].join("\n"),
    {
      "alice.pem": fixtureBytes("smime/certs/alice.pem"),
      "joe.gpg": fixtureBytes("pgp/joe.gpg"),
      ...(tls === undefined ? {} : { "server.pem": tls.cert, "server.key": tls.key, "ca.pem": tls.ca }),
    },
    // as Postfix's log: into a file, which costs the machine no reader
    { isLogUnread: true, ...(nodeOptions === undefined ? {} : { env: { NODE_OPTIONS: nodeOptions } }) },
  );
  return {
    ...{ name: `Sealpost ${treatment}`, port: relay.port, recipient: RECIPIENTS[treatment], relay },
    stop: () => relay.remove(),
  };
}
