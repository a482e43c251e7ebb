// Spool door: what a listener does with each message: adds the trace field, stops loops, and puts it into the sealed spool.
import { joined } from "../mail/chunks.ts";
import { readHeader, fieldsNamed, fieldValue, MAX_HEADER_BYTES } from "../mail/header.ts";
import { isOwnHop, MAX_HOPS, MAX_OWN_HOPS, receivedField } from "../mail/trace.ts";
import type { Route, Spool } from "../spool/spool.ts";
import { MessageRefused, type BeginIntake, type Envelope, type Intake, type Session } from "./intake.ts";

export type DoorSettings = {
  readonly hostname: string;
  readonly route: Route;
  /** Asked for each message: a reload changes it. */
  readonly classOf: () => "mail" | "copy";
};

/** What the listener of a route calls for each message. */
export function spoolDoor(
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
    const loop = loopDetector(settings);
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
        if (loop.isLoop()) {
          await receiving.abort();
          throw new MessageRefused({
            code: 554,
            status: "5.4.6",
            text: "too many hops, the message goes in a circle",
            reason: "loop",
          });
        }
        await receiving.commit({ ...final, route: settings.route, class: settings.classOf() });
        onAccepted();
        return { id: receiving.id };
      },
      abort: () => receiving.abort(),
    };
    return intake;
  };
}

/** Looks at the Received fields in the head of a message as it passes. */
function loopDetector({ hostname, route }: DoorSettings) {
  const parts: Uint8Array[] = [];
  let size = 0;
  let isPassed = false;
  return {
    take(chunk: Uint8Array): void {
      if (isPassed || size > MAX_HEADER_BYTES) return;
      parts.push(chunk);
      size += chunk.length;
      // an end that lies across two chunks is not seen, and costs no more than memory
      isPassed = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length).includes("\r\n\r\n");
    },
    isLoop(): boolean {
      const header = readHeader(joined(parts), true);
      const hops = header === undefined ? [] : fieldsNamed(header, "received");
      const own = hops.filter((hop) => isOwnHop(fieldValue(hop), hostname)).length;
      return hops.length >= MAX_HOPS[route] || own >= MAX_OWN_HOPS;
    },
  };
}

/** RFC 3848, RFC 6531 4.3: what the protocol is called in Received. */
function protocolOf(session: Session, envelope: Envelope): string {
  if (!session.isExtended) return "SMTP";
  const suffix = (session.tls === undefined ? "" : "S") + (session.user === undefined ? "" : "A");
  return (envelope.smtpUtf8 ? "UTF8SMTP" : "ESMTP") + suffix;
}
