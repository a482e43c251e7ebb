// Pass on: what becomes of incoming mail: its keys are learned, then it goes to the next hop byte for byte, or was a copy and ends here.
import { clearShipment, type Shipment } from "../outbound/departure.ts";
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
export function passOnShipment(leased: Leased): Shipment {
  return clearShipment(leased, "incoming mail");
}
