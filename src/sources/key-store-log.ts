// What reading a key-store file says, as log events and metrics.
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import type { StoreObserver } from "./key-store-file.ts";

/** So many unreadable entries are named in one line. */
const MAX_NAMED = 10;

export function keyStoreLog(log: Log, metrics: Metrics): StoreObserver {
  return {
    loaded(file, kind, format, count, faults, notes) {
      metrics.sourceStates.set("keystore", kind, true);
      const named = faults.slice(0, MAX_NAMED).map(({ entry, reason }) => `${entry}: ${reason}`);
      log.event("keystore.loaded", {
        file,
        kind,
        format,
        count,
        faults: faults.length,
        // an alias in a Java store may be the name of a person
        detail: named,
        notes: [...notes],
      });
    },
    failed(file, kind, cause) {
      metrics.sourceStates.set("keystore", kind, false);
      log.event("keystore.failed", { file, kind, fault: cause });
    },
  };
}
