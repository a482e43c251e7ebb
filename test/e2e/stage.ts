// The stage of an end-to-end test: a recording upstream, a real relay before it, and both removed at the end.
import { onTestFinished } from "vitest";
import { fixtureBytes } from "../fixtures.ts";
import { queueEntries, startRelay, type Launch, type Relay } from "../relay.ts";
import { startUpstream, type Upstream } from "../upstream.ts";

export type Stage = { readonly relay: Relay; readonly upstream: Upstream };

/** alice and quinn have a certificate, alice and joe an OpenPGP key, nobody has none. */
export const KEY_STORES = "smime: { keyStore: { file: people.pem } }\npgp: { keyStore: { file: people.asc } }";

export function keyStoreFiles(): Record<string, Buffer> {
  return {
    "people.pem": Buffer.concat([fixtureBytes("smime/certs/alice.pem"), fixtureBytes("smime/certs/quinn.pem")]),
    "people.asc": fixtureBytes("pgp/all.asc"),
  };
}

/** `yaml` is added to an upstream section that leads to the recording server; both go when the test ends. */
export async function stage(
  yaml: string,
  files: Record<string, Buffer | string> = keyStoreFiles(),
  launch: Launch = {},
): Promise<Stage> {
  const upstream = await startUpstream();
  onTestFinished(() => upstream.close());
  const relay = await startRelay(
    `upstream: { host: 127.0.0.1, port: ${upstream.port}, tls: off }\n${yaml}`,
    files,
    launch,
  );
  onTestFinished(() => relay.remove());
  return { relay, upstream };
}

/** The recipients of every message in the queue as `address state`, sorted. */
export async function queueStates(relay: Relay): Promise<string[]> {
  const entries = await queueEntries(relay);
  return entries.flatMap((entry) => entry.recipients.map((one) => `${one.address} ${one.state}`)).sort();
}
