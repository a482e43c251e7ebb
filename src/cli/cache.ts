// cache: Expire Cache, for all sources that remember or one of them.
import type { Command } from "commander";
import { addCommand, complain, EXIT, printJson, printLine, run, type CommonOptions } from "./run.ts";
import { withKeys } from "./with-keys.ts";

export function register(program: Command): void {
  const cache = program.command("cache").description("What servers and key stores are remembered to have answered.");
  addCommand(
    cache,
    "expire [source]",
    "Look every key up afresh when it is next needed, or those of one source.",
  ).action(run(expire));
}

function expire(source: string | undefined, options: CommonOptions) {
  return withKeys(options, async ({ sources, store }) => {
    const names = [...new Set(sources.remembering.map(({ name }) => name))];
    if (source !== undefined && !names.includes(source)) {
      const known = names.length === 0 ? "none is configured" : `configured are ${names.join(", ")}`;
      complain(new Error(`there is no key server or key store ${source}; ${known}`), false);
      return EXIT.no;
    }
    const expired = source === undefined ? names : [source];
    await store.cache.expire(expired);
    for (const name of expired) await store.changes.announce({ what: "cache.expired", source: name });
    if (options.json === true) printJson(expired);
    else for (const name of expired) printLine(`${name}: every key is looked up afresh when it is next needed`);
    return EXIT.ok;
  });
}
