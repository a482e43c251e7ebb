// The wiring of Verify Settings: which parts there are to be used.
import { judgeCertificates, pemCertificates } from "../admin/pem-files.ts";
import type { VerifiablePart } from "../admin/verify.ts";
import type { OpenKeys } from "./keys.ts";
import { certificatesIn } from "./trust.ts";
import { nextHopSettings, upstreamData, upstreamSettings } from "./upstream.ts";
import type { Clock } from "../clock.ts";
import type { Settings } from "../config/schema.ts";
import type { RevocationLists } from "../sources/revocation-lists.ts";
import type { Probe } from "../keys/source.ts";
import type { KeyChain } from "../keys/chain.ts";
import type { RecipientKey } from "../keys/recipient-key.ts";
import { createSender, type UpstreamSettings } from "../smtp/sender.ts";

/** Every part of these settings, in the order of a mail's way. */
export function verifiableParts(settings: Settings, keys: OpenKeys, clock: Clock): VerifiablePart[] {
  const { store, chains, people, trust } = keys;
  const { lists } = trust;
  const nextHop = nextHopSettings(settings);
  return [
    {
      part: "store",
      use: async () => ({ ok: true, detail: await store.checkWritable().then(() => "can be written") }),
    },
    { part: "secretKeyFile", use: async () => ({ ok: true, detail: await store.checkKey() }) },
    ...certificateFiles(settings).map(([part, file, read]): VerifiablePart => {
      return { part, use: async () => Promise.resolve(judgeCertificates(file, read(file, part), clock.now())) };
    }),
    ...sourcesOf(chains.smime),
    ...(lists === undefined
      ? []
      : [{ part: "smime.trust.crls", use: (signal: AbortSignal) => useLists(lists, signal, clock) }]),
    ...sourcesOf(chains.pgp),
    ...(people === undefined ? [] : [{ part: "users.jira", use: (signal: AbortSignal) => people.probe(signal) }]),
    ...learning(settings),
    ...(nextHop === undefined
      ? []
      : [{ part: "inbound.forward", use: (signal: AbortSignal) => useServer(nextHop, clock, signal) }]),
    { part: "upstream", use: (signal) => useServer(upstreamSettings(upstreamData(settings)), clock, signal) },
  ];
}

/** Whether incoming mail can teach what it is switched on for. */
function learning({ inbound, smime }: Settings): VerifiablePart[] {
  if (inbound === null) return [];
  const isHopeless = smime.incoming && inbound.issuers === "anchors" && smime.trust.anchors.length === 0;
  const detail = isHopeless
    ? "no certificate can be learned, for no CA is named; see smime.trust.anchors, or inbound.issuers, or switch smime.incoming off"
    : `keys are learned from signed mail; From is believed by ${inbound.evidence}`;
  return [{ part: "inbound", use: () => Promise.resolve({ ok: !isHopeless, detail }) }];
}

/** A name that both chains have, as keystore, stands for both: the detail says which. */
function sourcesOf({ kind, sources }: KeyChain<RecipientKey>): VerifiablePart[] {
  return sources.map((source) => ({
    part: source.name,
    use: async (signal: AbortSignal) => {
      const { ok, detail } = await source.probe(signal);
      return { ok, detail: `${kind === "smime" ? "S/MIME" : "OpenPGP"}: ${detail}` };
    },
  }));
}

/** Each file with certificates, by its setting, with what reads it for mail too. */
function certificateFiles({ outbound, inbound, upstream, smime, pgp }: Settings) {
  const files: (readonly [setting: string, file: string | null, read?: typeof certificatesIn])[] = [
    ["outbound.tls.cert", outbound.tls.mode === "off" ? null : outbound.tls.cert],
    ["inbound.tls.cert", inbound === null || inbound.tls.mode === "off" ? null : inbound.tls.cert],
    ["inbound.forward.ca", inbound === null || inbound.forward === "none" ? null : inbound.forward.ca],
    ...smime.userDirectories.map(({ ca }, index) => [`smime.userDirectories[${index}].ca`, ca] as const),
    ["smime.ldap.ca", smime.ldap?.ca ?? null],
    ...smime.trust.anchors.map((file, index) => [`smime.trust.anchors[${index}]`, file, certificatesIn] as const),
    ...smime.trust.intermediates.map(
      (file, index) => [`smime.trust.intermediates[${index}]`, file, certificatesIn] as const,
    ),
    ["pgp.keyServer.ca", pgp.keyServer?.ca ?? null],
    ["upstream.ca", upstream.ca],
  ];
  return files.flatMap(([setting, file, read = pemCertificates]) =>
    file === null ? [] : [[setting, file, read] as const],
  );
}

async function useLists(lists: RevocationLists, signal: AbortSignal, clock: Clock): Promise<Probe> {
  await lists.ready(signal);
  return lists.probe(clock.now());
}

/** Below the deadline of every part, so that the setting can be named; a mail server that greets late has answered by then. */
const UPSTREAM_DEADLINE_MS = 25_000;

async function useServer(server: UpstreamSettings, clock: Clock, signal: AbortSignal): Promise<Probe> {
  const { host, port, section } = server;
  const sender = createSender(server, clock);
  const late = clock.sleep(UPSTREAM_DEADLINE_MS, signal).then(() => {
    const detail = `${section} ${host}:${port} does not answer within ${UPSTREAM_DEADLINE_MS / 1000} s`;
    return { ok: false, detail: `${detail}; see ${section}.host, ${section}.port and ${section}.tls` };
  });
  try {
    return await Promise.race([sender.probe(), late]);
  } finally {
    // ends what still waits for a reply
    await sender.close();
  }
}
