// Floods at a door, until the signal comes: dot-stuffed lines without end, connections that only come and go, or only stay.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout } from "node:timers/promises";

const LINES = Buffer.from("..\r\n".repeat(16_384));
const LINES_BYTES_OF_A_MAIL = 48 * 1024 * 1024;

/** Mails of 48 MiB of lines that are a dot, over one connection after the other; `onSent` gets the octets. */
export async function floodOfDots(
  port: number,
  signal: AbortSignal,
  onSent: (octets: number) => void = () => undefined,
): Promise<void> {
  while (!signal.aborted) {
    const socket = open(port, "127.0.0.1");
    try {
      await oneFlood(socket, signal, onSent);
    } catch (error) {
      if ((error as Error).name !== "AbortError") throw error;
    } finally {
      socket.destroy();
    }
  }
}

async function oneFlood(socket: Socket, signal: AbortSignal, onSent: (octets: number) => void): Promise<void> {
  let said = "";
  socket.on("data", (bytes: Buffer) => (said += bytes.toString("latin1")));
  const hear = async (code: string) => {
    while (!said.includes(code)) await once(socket, "data", { signal });
  };
  await hear("220 ");
  socket.write("EHLO x\r\nMAIL FROM:<flood@example.com>\r\nRCPT TO:<flooded@example.com>\r\nDATA\r\n");
  await hear("354 ");
  for (let sent = 0; sent < LINES_BYTES_OF_A_MAIL && !signal.aborted; sent += LINES.length) {
    if (!socket.write(LINES)) await once(socket, "drain", { signal });
    onSent(LINES.length);
  }
  // refused at last: it is the door that is flooded, not what is behind it
  socket.write("\0\r\n.\r\n");
  await hear("554 ");
}

/** At most so many a second, from an address of their own; gives how many there were. */
export async function passingConnections(port: number, perSecond: number, signal: AbortSignal): Promise<number> {
  const [start, most] = [performance.now(), 50];
  let [count, open_] = [0, 0];
  while (!signal.aborted) {
    while (open_ < most && count < ((performance.now() - start) * perSecond) / 1_000) {
      const socket = open(port, "127.0.0.2");
      open_++;
      count++;
      socket.once("data", () => socket.destroy()).once("close", () => open_--);
    }
    await setTimeout(1);
  }
  return count;
}

export function idleConnections(port: number, count: number, localAddress: string): Socket[] {
  return Array.from({ length: count }, () => open(port, localAddress).resume());
}

function open(port: number, localAddress: string): Socket {
  const socket = connect({ port, host: "127.0.0.1", localAddress });
  return socket.on("error", () => socket.destroy());
}
