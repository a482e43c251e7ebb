// What tests of harvesting share: a leased message, a harvest over a real store, a key with its revocation.
import { onTestFinished } from "vitest";
import type { HarvestParts } from "../../src/inbound/harvest.ts";
import { mailbox } from "../../src/mail/address.ts";
import { sizedBytes } from "../../src/mail/chunks.ts";
import type { PgpCertificate } from "../../src/pgp/certificate.ts";
import type { Leased } from "../../src/spool/spool.ts";
import { fixtureBytes } from "../fixtures.ts";
import { NOW } from "../pgp/fixture-keys.ts";
import { gnupgHome } from "../pgp/gnupg.ts";
import { atTime, exportedKeys } from "../pgp/signed-mail.ts";
import { dataFolder } from "../store/data-folder.ts";

export function leased(message: Buffer): Leased {
  const envelope = { reversePath: mailbox("alice@example.com") } as Leased["envelope"];
  const times = { acceptedAt: NOW, wasHereAtStart: false, leaseUntil: NOW };
  return { ...{ id: "1", token: "t", allRecipients: [], due: [] }, ...times, envelope, content: sizedBytes(message) };
}

/** A harvest that believes signatures, over a store of its own; `known` are whom Jira knows, `happened` what was told. */
export async function harvestOverStore(known: ReadonlySet<string> = new Set()) {
  const folder = dataFolder();
  onTestFinished(() => folder.remove());
  const { personalKeys, harvested } = await folder.serve();
  const happened: string[] = [];
  let looks = 0;
  const parts: HarvestParts = {
    ...{ personalKeys, harvested, hostname: "relay.example.com", publicUrl: "http://relay.example.com" },
    evidence: { kind: "signature-only" },
    policy: { minRsaBits: 2048 },
    ...{ autocrypt: false, deferredForMs: 86_400_000, pendingForMs: 86_400_000 },
    tries: { begin: () => 1, done: () => undefined },
    observe: {
      happened(event, { address, reason }) {
        if (event !== "seen") happened.push(`${event} ${address?.address ?? ""} ${reason ?? ""}`.trim());
      },
      failed(cause) {
        throw cause;
      },
    },
    isKnown: ({ key }) => Promise.resolve(known.has(key)),
    seal: (_, message) => Promise.resolve(message),
    sleep: () => new Promise(() => undefined),
    now: () => ((looks += 1), folder.clock.now()),
  };
  return { parts, happened, clock: folder.clock, personalKeys, harvested, looks: () => looks };
}

/** The key with the revocation that gpg made with it. */
export function revokedKey({ bytes, fingerprint }: PgpCertificate): Buffer {
  const other = gnupgHome(false);
  try {
    const text = fixtureBytes(`pgp/revocs/${fingerprint.toUpperCase()}.rev`).toString("latin1");
    for (const input of [bytes, Buffer.from(text.replace(/^:-----/m, "-----"))])
      if (other.run([...atTime(NOW), "--import"], input).status !== 0) throw new Error("gpg does not import the key");
    return exportedKeys(other, [fingerprint], "binary");
  } finally {
    other.close();
  }
}
