// strace at a running relay: makes its system calls fail, or writes down in which order they come.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Relay } from "../relay.ts";

const program = fileURLToPath(new URL("../../bin/sealpost.js", import.meta.url));

export type Strace = {
  /** Lets the process go on without it; gives the calls in the order in which they ended. */
  detach(): Promise<readonly string[]>;
};

/** Attached to all threads of the relay when it resolves; `args` as strace has them. */
export async function strace(relay: Relay, args: readonly string[]): Promise<Strace> {
  const file = join(relay.folder, "strace.txt");
  const child = spawn("strace", ["-f", "-y", "-s", "24", "-o", file, "-p", String(relay.process.pid), ...args], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  const closed = once(child, "close");
  let text = "";
  await new Promise<void>((resolve, reject) => {
    child.stderr.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      if (text.includes(" attached")) resolve();
    });
    child.on("close", () => reject(new Error(`strace ends: ${text}`)));
  });
  return {
    async detach() {
      child.kill("SIGINT");
      await closed;
      return wholeCalls(readFileSync(file, "latin1"));
    },
  };
}

/** These calls give this error: `when` as strace has it, counted for each thread: 1 once, 1+ always, 5+47 now and then. */
export const failing = (calls: string, error: string, when: string): readonly string[] => [
  ...["-e", `trace=${calls}`],
  ...["-e", `inject=${calls}:error=${error}:when=${when}`],
];

/** A start of the same relay under strace, expected to be refused. */
export async function startUnder(
  relay: Relay,
  args: readonly string[],
): Promise<{ code: number | null; stderr: string }> {
  const serve = [process.execPath, program, "serve", "--config", relay.configFile];
  const child = spawn("strace", ["-f", "-qq", "-o", "/dev/null", ...args, ...serve], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  let stderr = "";
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stderr };
}

/** A call that another thread's interrupts is written in two pieces. */
function wholeCalls(text: string): string[] {
  const begun = new Map<string, string>();
  return text.split("\n").flatMap((line) => {
    const [, thread = "", call = ""] = /^(\d+) +(.*)$/.exec(line) ?? [];
    const unfinished = call.indexOf(" <unfinished ...>");
    if (unfinished >= 0) {
      begun.set(thread, call.slice(0, unfinished));
      return [];
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(call)?.[1];
    return [resumed === undefined ? call : (begun.get(thread) ?? "") + resumed];
  });
}
