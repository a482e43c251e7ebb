// One mail in several ciphertexts: what has arrived is not sent again because a kill came before the others.
import { expect, test } from "vitest";
import { expectArrived } from "../e2e/arrived.ts";
import { issueMail, sendMail } from "../e2e/jira.ts";
import { KEY_STORES, queueStates, stage } from "../e2e/stage.ts";
import { HANG } from "../upstream.ts";

const [QUINN, JOE] = ["quinn@example.com", "joe@example.org"];

test("killed while the second of two ciphertexts is sent, the relay sends only that one again", async () => {
  const { relay, upstream } = await stage(KEY_STORES);
  upstream.behaviour.reply = ({ verb, line }) => (verb === "RCPT" && line.includes(JOE) ? HANG : undefined);
  await sendMail(relay.port, { to: [QUINN, JOE], message: issueMail("1", { to: `${QUINN}, ${JOE}` }) });
  await expectArrived(upstream, [`${QUINN} smime`]);
  await expect.poll(() => queueStates(relay), { timeout: 20_000 }).toEqual([`${JOE} queued`, `${QUINN} delivered`]);
  await relay.kill();
  upstream.behaviour.reply = () => undefined;
  await relay.start();
  await expectArrived(upstream, [`${QUINN} smime`, `${JOE} pgp`]);
  await expect.poll(() => queueStates(relay), { timeout: 20_000 }).toEqual([`${JOE} delivered`, `${QUINN} delivered`]);
  expect(upstream.transactions).toHaveLength(2);
});
