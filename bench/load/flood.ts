// Load flood, a process of its own: what hurts a door, until the parent disconnects.
//
// Argument: JSON of FloodOptions. Over IPC it says `"begun"`, and FloodFigures when the parent has sent anything.
import { floodOfDots, idleConnections, passingConnections } from "../../test/e2e/floods.ts";

export type FloodOptions = {
  readonly port: number;
  /** Connections with dot-stuffed lines without end. */
  readonly dots?: number;
  readonly idle?: number;
  /** Connections that come and go each second. */
  readonly passing?: number;
};

export type FloodFigures = { readonly octets: number; readonly passed: number };

const { port, dots = 0, idle = 0, passing = 0 } = JSON.parse(process.argv[2] ?? "{}") as FloodOptions;
const over = new AbortController();
idleConnections(port, idle, "127.0.0.3");
let octets = 0;
const floods = Array.from({ length: dots }, () => floodOfDots(port, over.signal, (sent) => (octets += sent)));
const passed = passing > 0 ? passingConnections(port, passing, over.signal) : Promise.resolve(0);
process.once("message", () => {
  over.abort();
  void Promise.all([passed, Promise.all(floods)]).then(([count]) => {
    const figures: FloodFigures = { passed: count, octets };
    process.send?.(figures, () => process.exit(0));
  });
});
process.send?.("begun");
