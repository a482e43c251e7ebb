// Faults in the middle of encryption: what could be encrypted leaves, the rest waits, and nothing of it is seen anywhere.
import { describe, expect, test } from "vitest";
import { fixtureBytes } from "../fixtures.ts";
import { keyStore } from "../interop/readers.ts";
import { expectArrived, readPgp, readSmime } from "./arrived.ts";
import { CANARIES, canaryMail, expectNoCanary } from "./canary.ts";
import { hunt } from "./hunt.ts";
import { sendMail } from "./jira.ts";
import { withoutRsaKeysOf } from "./preloaded.ts";
import { queueStates, stage } from "./stage.ts";

const [ALICE, QUINN, KIM] = ["alice@example.com", "quinn@example.com", "kim@example.com"];
const [JOE, BOB] = ["joe@example.org", "bob@example.com"];

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
    await expectNoCanary(relay, [upstream]);
  });
});
