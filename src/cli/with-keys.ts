// withKeys: the key sources and the store of the configuration, opened for one command and closed whatever happens.
import { openKeys, type OpenKeys } from "../wiring/keys.ts";
import type { Settings } from "../config/schema.ts";
import { withSettings, type CommonOptions, type ExitCode } from "./run.ts";

export function withKeys(
  options: CommonOptions,
  command: (keys: OpenKeys, settings: Settings) => Promise<ExitCode>,
): Promise<ExitCode> {
  return withSettings(options, async (settings) => {
    const keys = await openKeys(settings);
    try {
      return await command(keys, settings);
    } finally {
      await keys.close();
    }
  });
}
