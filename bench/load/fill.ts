// Fills the spool of a relay that does not run, at the speed of the store itself.
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import { mailbox } from "../../src/mail/address.ts";
import type { SpooledEnvelope } from "../../src/spool/spool.ts";
import { openStore } from "../../src/store/open.ts";
import { notification } from "./notification.ts";

/** So many are committed together. */
const AT_ONCE = 500;

/** `count` more mails of 1 KiB to one recipient, all due now. */
export async function fill(folder: string, count: number, recipient: string): Promise<void> {
  const settings = { dataDir: join(folder, "data"), secretKeyFile: join(folder, "secret.key") };
  const store = await openStore(settings, systemClock);
  await store.recover();
  const content = notification(1_024, recipient);
  const envelope: SpooledEnvelope = {
    route: "outbound",
    class: "mail",
    smtpUtf8: false,
    is8bit: false,
    reversePath: mailbox("jira@bench.test"),
    recipients: [{ mailbox: mailbox(recipient) }],
  };
  const one = async (number: number) => {
    const receiving = store.spool.receive();
    await receiving.write(Buffer.concat([Buffer.from(`Message-ID: <fill.${number}@bench.test>\r\n`), content]));
    await receiving.commit(envelope);
  };
  for (let done = 0; done < count; done += AT_ONCE)
    await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - done) }, (_, index) => one(done + index)));
  await store.close();
}
