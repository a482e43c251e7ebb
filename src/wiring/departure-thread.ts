// The wiring of the second thread: what the first one has decided is encrypted, guarded and sent here (delivery/departures-on-thread.ts).
import { parentPort, workerData } from "node:worker_threads";
import { systemClock } from "../clock.ts";
import { departureReader } from "../delivery/departure-message.ts";
import { departuresHere } from "../delivery/departures.ts";
import { serveDepartures } from "../delivery/serve-departures.ts";
import { createCiphers } from "../encrypt/ciphers.ts";
import type { SmimeOptions } from "../encrypt/smime.ts";
import { createSender } from "../smtp/sender.ts";
import { upstreamSettings, type UpstreamData } from "./upstream.ts";

/** What it is begun with. */
export type ThreadData = {
  readonly upstream: UpstreamData;
  readonly smime: SmimeOptions;
};

if (parentPort !== null) {
  const { upstream, smime } = workerData as ThreadData;
  const sender = createSender(upstreamSettings(upstream), systemClock);
  const departures = departuresHere({ ciphers: createCiphers(smime), sender, now: () => systemClock.now() });
  serveDepartures(parentPort, departures, departureReader());
}
