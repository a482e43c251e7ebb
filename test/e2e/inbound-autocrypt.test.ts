// Autocrypt fields of unsigned mail, seen from outside: read only when switched on, and the last of all sources.
import { describe, expect, onTestFinished, test } from "vitest";
import { gnupgHome } from "../pgp/gnupg.ts";
import { exportedKeys, pgpSignedMail } from "../pgp/signed-mail.ts";
import type { Relay } from "../relay.ts";
import { expectArrived } from "./arrived.ts";
import { authenticated, deliver, harvested, inboundStage } from "./inbound-stage.ts";
import { issueMail, sendMail } from "./jira.ts";

const JOE = "joe@example.org";
const SWITCHED_ON = { inbound: ", autocrypt: true", yaml: "encryption: { fallback: allow }" };

const jiraWrites = (relay: Relay, id: string) =>
  sendMail(relay.port, { to: [JOE], message: issueMail(id, { to: JOE, text: "secret" }) });

function homes() {
  const [known, other] = [gnupgHome(true), gnupgHome(false)];
  onTestFinished(() => [known, other].forEach((one) => one.close()));
  other.run(["--passphrase", "", "--quick-generate-key", `Joe <${JOE}>`, "future-default", "default", "never"]);
  return { known, other };
}

/** An unsigned mail with joe's key in its header; `covered` is what its DKIM signature says it covers. */
function withField(home: ReturnType<typeof gnupgHome>, { covered = "from:autocrypt", addr = JOE } = {}): Buffer {
  const keydata = exportedKeys(home, [JOE], "binary").toString("base64").replace(/.{70}/g, "$&\r\n ");
  const fields = [
    `DKIM-Signature: v=1; d=example.org; h=${covered}; b=x`,
    `Autocrypt: addr=${addr}; keydata=\r\n ${keydata}`,
    `From: ${JOE}`,
    "To: jira@example.com",
    `Date: ${new Date().toUTCString()}`,
    "Message-ID: <1@example.org>",
  ];
  return authenticated(Buffer.from(`${fields.join("\r\n")}\r\n\r\nhello\r\n`), "example.org");
}

describe("HARV-43: an Autocrypt field", () => {
  test("of somebody whom Jira knows is used when nothing else is there, and gives way to a key that was signed with", async () => {
    const { known, other } = homes();
    const { relay, upstream } = await inboundStage(SWITCHED_ON);
    await jiraWrites(relay, "1");
    await expectArrived(upstream, [`${JOE} clear`]);
    await deliver(relay, withField(other), { from: JOE });
    expect((await harvested(relay, "learned", JOE))["reason"]).toBe("autocrypt");
    await jiraWrites(relay, "2");
    await upstream.waitFor(2);
    expect(await sourceOfKey(relay)).toBe("autocrypt");
    const keys = [exportedKeys(known, [JOE], "armored")];
    const signed = pgpSignedMail(known, { from: JOE, signer: JOE, signedAt: Date.now(), keys });
    await deliver(relay, authenticated(signed, "example.org"), { from: JOE });
    await relay.event(({ event, reason }) => event === "harvest.learned" && reason === "new");
    expect(await sourceOfKey(relay)).toBe("incoming");
  });

  test.each([
    ["that no DKIM signature covers", { covered: "from:to" }, /not every DKIM-Signature/],
    ["for another address than From", { addr: "ann@example.org" }, /another address/],
  ])("%s teaches nothing", async (_what, options, reason) => {
    const { known } = homes();
    const { relay } = await inboundStage(SWITCHED_ON);
    await jiraWrites(relay, "1");
    await deliver(relay, withField(known, options), { from: JOE });
    expect(String((await harvested(relay, "ignored", JOE))["reason"])).toMatch(reason);
  });

  test("of a stranger, or when it is not switched on, teaches nothing", async () => {
    const { known } = homes();
    const { relay } = await inboundStage(SWITCHED_ON);
    await deliver(relay, withField(known), { from: JOE });
    expect(String((await harvested(relay, "ignored", JOE))["reason"])).toMatch(/does not know/);
    const off = await inboundStage({ yaml: SWITCHED_ON.yaml });
    await jiraWrites(off.relay, "1");
    await deliver(off.relay, withField(known), { from: JOE });
    await off.nextHop.waitFor(1);
    expect(off.relay.events.filter(({ event }) => event.startsWith("harvest."))).toEqual([]);
  });
});

/** Which source has the key of joe's next mail. */
async function sourceOfKey(relay: Relay): Promise<string | undefined> {
  const { stdout } = await relay.run(["explain", JOE, "--json"]);
  const { trail } = JSON.parse(stdout.toString()) as { trail: { source: string; answer: string }[] };
  return trail.find(({ answer }) => answer === "found")?.source;
}
