// serve: runs everything until SIGTERM or SIGINT, reads the configuration again on SIGHUP.
import { flushCompileCache } from "node:module";
import { setImmediate as nextTurn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import type { Command } from "commander";
import { startApp } from "../app.ts";
import { asError } from "../as-error.ts";
import { systemClock } from "../clock.ts";
import { faultLine } from "../config/fault.ts";
import { readConfiguration } from "../config/read.ts";
import { openLog, type Log } from "../log.ts";
import { createMetrics } from "../metrics.ts";
import { addCommand, EXIT, run, withSettings, type CommonOptions } from "./run.ts";
import { sealpostVersion } from "./version.ts";

/**
 * Of V8, from when mail comes; see bin/runtime.js. Mail in work leaves many new objects. By itself V8 marks the whole heap again as soon as
 * the old space has grown by nothing or next to it, because the space for new objects is as large as the room that it leaves: up to ten
 * times a second. So: when half of that room is used, at the latest at four fifths.
 */
const FLAGS_IN_USE = [
  "--semi-space-growth-factor=2",
  "--incremental-marking-soft-trigger=50",
  "--incremental-marking-hard-trigger=80",
];

/** So long the last lines may wait for a reader of the log. */
const LAST_LINES_MS = 500;

export function register(program: Command): void {
  addCommand(program, "serve", "Run the relay until SIGTERM or SIGINT.").action(run(serve));
}

function serve(options: CommonOptions) {
  return withSettings(options, async (settings) => {
    const version = sealpostVersion();
    const log = openLog(settings.log);
    // whatever ends the process before its time, a stdout that was closed too, must not look like success
    process.exitCode = EXIT.no;
    endOnBug(log);
    // a reload that is still running makes the next one wait: signals come in any number, also too early or too late
    let mayReload = false;
    const ending = new AbortController();
    let reloading = Promise.resolve();
    process.on("SIGHUP", () => {
      reloading = reloading.then(() => (mayReload ? reload() : undefined));
    });
    const app = await startApp(settings, { log, metrics: createMetrics(version), clock: systemClock });
    endAtOnce(app.failed, log);
    mayReload = true;
    const reload = async () => {
      if (!mayReload) return;
      const reading = readConfiguration({ path: options.config, env: process.env });
      if ("faults" in reading) {
        log.event("config.refused", { faults: reading.faults.map(faultLine) });
        return;
      }
      const refused = await app
        .reload(reading.settings, ending.signal)
        .catch((cause: unknown) => ({ refused: cause instanceof Error ? cause.message : String(cause) }));
      if (refused === undefined) log.event("config.reloaded");
      else log.event("config.refused", { faults: [refused.refused] });
    };
    const end = ended(ending);
    // only now: whoever reads it may send signals at once, and one without a listener ends the process
    log.event("service.started", {
      version,
      outbound: app.ports.outbound,
      inbound: app.ports.inbound,
      web: app.ports.web,
      metrics: app.ports.metrics,
    });
    for (const flag of FLAGS_IN_USE) setFlagsFromString(flag);
    // by itself Node keeps what it has made of the source only at a regular end
    flushCompileCache();
    const signal = await end;
    log.event("service.stopping", { signal });
    mayReload = false;
    await reloading;
    await app.stop();
    log.event("service.stopped");
    // with which the last lines go out
    await nextTurn();
    // a reader that is stuck does not keep us: its last lines are lost
    if (process.stdout.writableLength > 0) await systemClock.sleep(LAST_LINES_MS);
    if (process.stdout.writableLength > 0) process.exit(EXIT.ok);
    return EXIT.ok;
  });
}

/** No reply, no drain, no more writing: whoever got no 250 comes again, and the next start finds what the disk has kept. */
function endAtOnce(failed: AbortSignal, log: Log): void {
  const end = () => {
    log.event("service.fault", { fault: failed.reason as Error });
    process.exit(EXIT.no);
  };
  if (failed.aborted) end();
  failed.addEventListener("abort", end);
}

/**
 * What nobody caught ends the process, as Node does it, but is told in the log, as text and place alone: Node would print
 * whatever hangs on the error, which may be the octets of a mail.
 */
function endOnBug(log: Log): void {
  process.on("uncaughtException", (thrown) => {
    const fault = asError(thrown);
    const places = (fault.stack ?? "").split("\n").filter((line) => /^ {4}at /.test(line));
    log.event("service.fault", { fault, places: places.slice(0, 10).map((line) => line.trim()) });
    process.exit(EXIT.no);
  });
}

/** A second signal while draining ends the process at once: what was acknowledged is on disk. */
function ended(ending: AbortController): Promise<string> {
  return new Promise((resolve) => {
    for (const name of ["SIGTERM", "SIGINT"] as const) {
      process.once(name, () => {
        process.once(name, () => process.exit(EXIT.no));
        ending.abort();
        resolve(name);
      });
    }
  });
}
