// LDAP frames: cuts what a socket gives into whole messages, in time and memory that the messages' size bounds.
import { messageLength } from "./ldap-reply.ts";

/** A message that announces more octets than are taken. */
export class OversizeMessage extends Error {}

/** Gives the messages that are whole after each chunk. Throws NotLdap, and OversizeMessage before anything large is kept. */
export function frameReader(maxMessageBytes: number): (chunk: Buffer) => readonly Buffer[] {
  let kept: Buffer[] = [];
  let keptBytes = 0;
  // of the message that `kept` begins with; 1 while that is not known
  let neededBytes = 1;

  return (chunk) => {
    kept.push(chunk);
    keptBytes += chunk.length;
    if (keptBytes < neededBytes) return [];
    let rest = kept.length === 1 ? chunk : Buffer.concat(kept);
    const messages: Buffer[] = [];
    for (;;) {
      const length = messageLength(rest);
      if (length !== undefined && length > maxMessageBytes) throw new OversizeMessage(`a message of ${length} octets`);
      neededBytes = length ?? rest.length + 1;
      if (length === undefined || rest.length < length) break;
      messages.push(rest.subarray(0, length));
      rest = rest.subarray(length);
    }
    kept = rest.length === 0 ? [] : [rest];
    keptBytes = rest.length;
    return messages;
  };
}
