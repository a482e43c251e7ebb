// Faults in the middle of encryption: what could be encrypted leaves, the rest waits, and nothing of it is seen anywhere.
import { describe, expect, test, vi } from "vitest";
import { fixtureBytes } from "../fixtures.ts";
import { keyStore } from "../interop/readers.ts";
import type { RecordedTransaction } from "../upstream.ts";
import { expectArrived, field, readPgp, readSmime } from "./arrived.ts";
import { CANARIES, canaryMail, expectNoCanary } from "./canary.ts";
import { filesIn, hunt } from "./hunt.ts";
import { sendMail } from "./jira.ts";
import { withoutRsaKeysOf } from "./preloaded.ts";
import { queueStates, stage } from "./stage.ts";

// a machine that is busy with others
vi.setConfig({ testTimeout: 180_000 });

const [ALICE, QUINN, KIM] = ["alice@example.com", "quinn@example.com", "kim@example.com"];
const [JOE, BOB] = ["joe@example.org", "bob@example.com"];

const MIB = 1024 * 1024;

const certificates = () =>
  Buffer.concat(["alice", "quinn", "kim"].map((name) => fixtureBytes(`smime/certs/${name}.pem`)));

/** alice's is RSA, those of bob and joe are of Curve25519. */
const pgpKeys = () => {
  const ids = ["9D543AEB36079FD1", "255F09B67B076EB4", "5CCF60574556759F"];
  return keyStore(
    "pgp",
    ids.map((key) => ({ mailbox: "", key })),
  );
};

describe("CONF-04: encryption throws for the second of three recipients", () => {
  test.each([
    ["S/MIME", "smime-only", 4096, [ALICE, QUINN, KIM]],
    ["OpenPGP", "pgp-only", 2048, [BOB, ALICE, JOE]],
  ] as const)("%s: the others are sent to, encrypted; the second waits", async (_, type, bits, to) => {
    const yaml = `encryption: { type: ${type}, fallback: allow, subject: hide }\nsmime: { keyStore: { file: a } }\npgp: { keyStore: { file: b } }`;
    const files = { a: certificates(), b: pgpKeys() };
    const { relay, upstream } = await stage(yaml, files, withoutRsaKeysOf(bits));
    const [first, second, third] = to;
    expect(await sendMail(relay.port, { to, message: canaryMail("1", to.join(", ")) })).toMatch(/^250 /);
    await relay.event(({ event, recipient }) => event === "delivery.deferred" && recipient === second);
    const kind = type.replace("-only", "");
    await expectArrived(upstream, [`${first} ${kind}`, `${third} ${kind}`]);
    expect(await queueStates(relay)).toEqual(
      [`${first} delivered`, `${second} queued`, `${third} delivered`].toSorted(),
    );
    for (const { rcptTo, data } of upstream.transactions) {
      const clear = Buffer.from(
        kind === "pgp" ? readPgp(data) : await readSmime(data, rcptTo[0]!.split("@")[0]!),
        "latin1",
      );
      for (const canary of CANARIES) expect(hunt({ clear }, [canary])).not.toEqual([]);
    }
    await relay.stop();
    await expectNoCanary(relay, [upstream]);
  });
});

describe("CONF-06: 48 MiB through a heap of 128 MiB", () => {
  const small = { env: { NODE_OPTIONS: "--max-old-space-size=128" } };
  const yaml =
    "encryption: { fallback: allow, subject: hide }\nsmime: { keyStore: { file: a } }\noutbound: { listen: 127.0.0.1:0, maxMessageSize: 60MiB }";
  const large = () => canaryMail("1", ALICE, 48 * MIB);

  test("killed in the middle of sending, it is encrypted whole after the next start, and nothing of it is seen", async () => {
    const { relay, upstream } = await stage(yaml, { a: certificates() }, small);
    const middle = new Promise<void>((resolve) => {
      upstream.behaviour.duringData = (octets) => {
        if (octets < 8 * MIB) return undefined;
        resolve();
        return "stall";
      };
    });
    const message = large();
    expect(await sendMail(relay.port, { to: [ALICE], message })).toMatch(/^250 /);
    await middle;
    await relay.kill();
    expect(hunt(ends(filesIn(relay.folder)), CANARIES)).toEqual([]);
    upstream.behaviour.duringData = undefined;
    await relay.start();
    await upstream.until(() => upstream.transactions.length === 1, 40_000);
    const [{ data }] = upstream.transactions as [RecordedTransaction];
    expect(field(data, "Content-Type")).toMatch(/^application\/pkcs7-mime/);
    const inside = await readSmime(data, "alice");
    const body = message.subarray(message.indexOf("\r\n\r\n") + 4).toString("latin1");
    expect(inside.endsWith(body)).toBe(true);
    expect(relay.events.filter(({ event }) => event === "service.fault")).toEqual([]);
    expect(hunt(ends({ data, log: Buffer.from(relay.output) }), CANARIES)).toEqual([]);
  });
});

/** The first and the last MiB of each: the canaries are in every line, and looking through all of it takes long. */
function ends(places: Readonly<Record<string, Buffer>>): Record<string, Buffer> {
  const cut = (octets: Buffer) => [octets.subarray(0, MIB), octets.subarray(-MIB)];
  return Object.fromEntries(Object.entries(places).map(([name, octets]) => [name, Buffer.concat(cut(octets))]));
}
