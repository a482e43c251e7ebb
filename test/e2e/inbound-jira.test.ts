// Learning with Jira's REST interface: whom Jira knows is learned at once, and no key is lost while Jira answers anything else.
import { setTimeout } from "node:timers/promises";
import { expect, onTestFinished, test } from "vitest";
import { fixtureSigner, signedMail } from "../smime/signed-mail.ts";
import { startJiraMock, type JiraState } from "../users/jira-mock.ts";
import { authenticated, deliver, harvested, inboundStage } from "./inbound-stage.ts";

const [ALICE, CAROL] = ["alice@example.com", "carol@example.com"];
const user = (name: string, emailAddress = `${name}@example.com`) => ({
  ...{ key: `KEY-${name}`, name, displayName: name, emailAddress },
  ...{ active: true, roles: ["jira-software"] },
});
const by = (signer: string, from: string) => authenticated(signedMail({ from }, fixtureSigner(signer)), "example.com");

async function stage(state: Partial<JiraState>) {
  const jira = await startJiraMock({ token: "token", self: user("relay") }, state);
  onTestFinished(() => jira.close());
  const { relay } = await inboundStage(
    { yaml: `users: { jira: { url: "${jira.url}", tokenFile: token } }`, forward: false },
    { token: "token\n" },
  );
  return { jira, relay };
}

test("a person whom Jira knows is learned at once, nobody else is", async () => {
  const { relay } = await stage({ users: [user("alice")] });
  await deliver(relay, by("alice", ALICE));
  await harvested(relay, "learned", ALICE);
  await deliver(relay, by("carol", CAROL));
  await harvested(relay, "deferred", CAROL);
});

test.each<[string, Partial<JiraState>]>([
  ["refuses the token", { instead: () => ({ status: 401, body: "" }) }],
  ["has a fault", { instead: () => ({ status: 500, body: "" }) }],
  ["does not answer", { instead: () => "hang" }],
  ["answers after three seconds", { instead: () => setTimeout(3_000, undefined, { ref: false }) }],
  [
    "finds others whose addresses hold this one",
    { users: [user("alice", "malice@example.com"), user("al", "alice@example.com.evil.test")] },
  ],
])("while Jira %s the key waits, and the mail goes on within its time", async (_, state) => {
  const { relay } = await stage({ users: [user("alice")], ...state });
  const since = performance.now();
  await deliver(relay, by("alice", ALICE));
  await harvested(relay, "deferred", ALICE);
  await relay.event(({ event }) => event === "delivery.delivered");
  // two seconds for the harvest, and the test's machine may be busy
  expect(performance.now() - since).toBeLessThan(4_000);
});
