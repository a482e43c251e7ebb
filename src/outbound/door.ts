// Door: what Jira may hand in; adds the trace field, stops loops, and puts the message into the sealed spool.
import { readHeader, fieldsNamed, MAX_HEADER_BYTES } from "../mail/header.ts";
import { MAX_HOPS, receivedField } from "../mail/trace.ts";
import { MessageRefused, type BeginIntake, type Envelope, type Intake, type Session } from "../smtp/intake.ts";
import type { Spool } from "../spool/spool.ts";

export type DoorSettings = { readonly hostname: string };

/** What the listener for Jira calls for each message. */
export function outboundDoor(
  spool: Spool,
  settings: DoorSettings,
  now: () => number,
  onAccepted: () => void,
): BeginIntake {
  return (session, envelope) => {
    const receiving = spool.receive();
    const received = receivedField({
      ...session,
      hostname: settings.hostname,
      protocol: protocolOf(session, envelope),
      id: receiving.id,
      at: now(),
    });
    const loop = loopDetector();
    let isBegun = false;
    const begin = async () => {
      if (isBegun) return;
      isBegun = true;
      await receiving.write(Buffer.from(received));
    };
    const intake: Intake = {
      async write(chunk) {
        await begin();
        loop.take(chunk);
        await receiving.write(chunk);
      },
      async commit(final) {
        await begin();
        if (loop.hops() >= MAX_HOPS) {
          await receiving.abort();
          throw new MessageRefused({
            code: 554,
            status: "5.4.6",
            text: "too many hops, the message goes in a circle",
            reason: "loop",
          });
        }
        await receiving.commit({ ...final, route: "outbound", class: "mail" });
        onAccepted();
        return { id: receiving.id };
      },
      abort: () => receiving.abort(),
    };
    return intake;
  };
}

/** Counts Received fields in the head of a message as it passes. */
function loopDetector() {
  const parts: Uint8Array[] = [];
  let size = 0;
  return {
    take(chunk: Uint8Array): void {
      if (size > MAX_HEADER_BYTES) return;
      parts.push(chunk);
      size += chunk.length;
    },
    hops(): number {
      const header = readHeader(Buffer.concat(parts), true);
      return header === undefined ? 0 : fieldsNamed(header, "received").length;
    },
  };
}

/** RFC 3848, RFC 6531 4.3: what the protocol is called in Received. */
function protocolOf(session: Session, envelope: Envelope): string {
  if (!session.isExtended) return "SMTP";
  const suffix = (session.tls === undefined ? "" : "S") + (session.user === undefined ? "" : "A");
  return (envelope.smtpUtf8 ? "UTF8SMTP" : "ESMTP") + suffix;
}
