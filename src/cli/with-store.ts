// withStore: the data folder opened for one command, and closed whatever happens.
import { systemClock } from "../clock.ts";
import type { Settings } from "../config/schema.ts";
import { openStore, type Store } from "../store/open.ts";
import { withSettings, type CommonOptions, type ExitCode } from "./run.ts";

export function withStore(
  options: CommonOptions,
  command: (store: Store, settings: Settings) => Promise<ExitCode>,
): Promise<ExitCode> {
  return withSettings(options, async (settings) => {
    const store = await openStore(settings, systemClock);
    try {
      return await command(store, settings);
    } finally {
      await store.close();
    }
  });
}
