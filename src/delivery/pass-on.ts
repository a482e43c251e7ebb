// Pass on: what becomes of incoming mail: its keys are learned, then it goes to the next hop byte for byte, or was a copy and ends here.
import { ApprovedClear } from "../mail/outgoing.ts";
import { guard } from "../outbound/guard.ts";
import type { Made } from "../outbound/prepare.ts";
import type { Leased, Notice } from "../spool/spool.ts";
import type { Attempt } from "./settlement.ts";

export type InboundParts = {
  /** Learns from the message. Never rejects and never takes long, whatever the message is; gives the notices that it causes. */
  readonly harvest: (leased: Leased) => Promise<readonly Notice[]>;
  /** Whether there is a next hop to pass mail on to; copies need none. */
  readonly hasNextHop: boolean;
};

/** A copy ends here: there is nobody to send it to. */
export function copyAttempts(leased: Leased): Attempt[] {
  const reply = "250 2.0.0 a copy, not passed on (inbound.forward was none)";
  return leased.due.map((recipient): Attempt => ({ recipient, treatment: "copy", result: "delivered", reply }));
}

/** The message as it came in, with the one Received field that was added, for all recipients together. */
export async function passOnShipment(leased: Leased): Promise<Made> {
  const rule = "incoming mail";
  const guarded = await guard(new ApprovedClear(leased.content, rule), { kind: "clear", rule });
  const { is8bit, smtpUtf8 } = leased.envelope;
  return { shipment: { recipients: leased.due, treatment: "clear", guarded, is8bit, smtpUtf8 } };
}
