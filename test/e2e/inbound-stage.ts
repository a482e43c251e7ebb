// The stage of the tests of incoming mail: a relay with both ways in, a recording next hop, and what was learned, seen from outside.
import { onTestFinished } from "vitest";
import { fixtureBytes } from "../fixtures.ts";
import { startRelay, type Relay } from "../relay.ts";
import { startUpstream, type Upstream } from "../upstream.ts";
import { JiraSession } from "./jira.ts";

export type InboundStage = { readonly relay: Relay; readonly upstream: Upstream; readonly nextHop: Upstream };

export const AUTHSERV_ID = "mx.example.com";

/** Files that every such relay has: the anchors of the fixtures' certificates. */
export function trustFiles(): Record<string, Buffer> {
  return {
    "root.pem": fixtureBytes("smime/certs/root.pem"),
    "issuing.pem": fixtureBytes("smime/certs/issuing.pem"),
  };
}

/** `inbound` and `yaml` are added to a relay that learns by Authentication-Results and passes on to `nextHop`. */
export async function inboundStage(
  { inbound = "", yaml = "", forward = true }: { inbound?: string; yaml?: string; forward?: boolean } = {},
  files: Record<string, Buffer | string> = {},
): Promise<InboundStage> {
  const [upstream, nextHop] = [await startUpstream(), await startUpstream()];
  onTestFinished(() => upstream.close());
  onTestFinished(() => nextHop.close());
  const hop = forward ? `, forward: { host: 127.0.0.1, port: ${nextHop.port}, tls: off }` : "";
  const relay = await startRelay(
    [
      `upstream: { host: 127.0.0.1, port: ${upstream.port}, tls: off }`,
      `inbound: { listen: 127.0.0.1:0, recipients: [jira@example.com, "@issues.example.com"], authservId: ${AUTHSERV_ID}${hop}${inbound} }`,
      /^smime:/m.test(yaml) ? "" : "smime: { trust: { anchors: [root.pem], intermediates: [issuing.pem] } }",
      yaml,
    ].join("\n"),
    { ...trustFiles(), ...files },
  );
  onTestFinished(() => relay.remove());
  return { relay, upstream, nextHop };
}

/** Hands a message in from outside; gives the reply to the final dot, or the first refusal before it. */
export async function deliver(
  relay: Relay,
  message: Buffer,
  { from = "alice@example.com", to = ["jira@example.com"] }: { from?: string; to?: readonly string[] } = {},
): Promise<string> {
  const session = await JiraSession.open(relay.inboundPort);
  try {
    return await session.send({ from, to, message: stuffed(message) });
  } finally {
    await session.quit();
  }
}

/** RFC 5321 4.5.2. */
function stuffed(message: Buffer): Buffer {
  return Buffer.from(message.toString("latin1").replace(/^\./gm, ".."), "latin1");
}

/** Fields that a border server adds in front: what it found out of From. */
export function authenticated(message: Buffer, domain: string, result = "pass", id = AUTHSERV_ID): Buffer {
  const field = `Authentication-Results: ${id};\r\n dmarc=${result} header.from=${domain}\r\n`;
  return Buffer.concat([Buffer.from(field), message]);
}

/** Waits for the harvest's word on the next message of an address. */
export async function harvested(relay: Relay, event: string, address?: string) {
  return relay.event(
    (one) => one.event === `harvest.${event}` && (address === undefined || one["address"] === address),
  );
}
