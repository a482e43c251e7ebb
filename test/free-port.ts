// Ports for servers that cannot be told to take any: free when asked, which another program may end at any moment.
import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";

export async function freePort(): Promise<number> {
  for (;;) {
    const port = await claimed(0);
    if (port !== undefined) return port;
  }
}

/** The lower one of two neighbours. */
export async function freePortPair(): Promise<number> {
  for (;;) {
    const port = await claimed(0);
    if (port !== undefined && port < 65_535 && (await claimed(port + 1)) !== undefined) return port;
  }
}

/** The port when it is free, and free again afterwards; 0 takes any. */
async function claimed(port: number): Promise<number | undefined> {
  const server = createServer();
  try {
    server.listen(port, "127.0.0.1");
    await once(server, "listening");
  } catch {
    return undefined;
  }
  const address = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return address.port;
}
