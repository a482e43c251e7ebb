// Drained: waits until a socket whose peer does not read takes more, or is closed.
import type { Socket } from "node:net";

export function drained(socket: Socket): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      socket.off("drain", settle).off("close", settle);
      resolve();
    };
    socket.on("drain", settle).on("close", settle);
  });
}
