// sealpost healthcheck: asks the running relay whether it lives and is ready; for containers and monitors.
import { isIPv6 } from "node:net";
import type { Command } from "commander";
import type { Settings } from "../config/schema.ts";
import { addCommand, EXIT, printable, printJson, printLine, run, withSettings, type CommonOptions } from "./run.ts";

const DEADLINE_MS = 5_000;
const MAX_DETAIL = 500;

type Health = { readonly endpoint: string; readonly ok: boolean; readonly detail: string };

export function register(program: Command): void {
  addCommand(program, "healthcheck", "ask the running relay whether it lives and is ready").action(
    run((options: CommonOptions) =>
      withSettings(options, async (settings) => {
        const answers = await Promise.all(["/livez", "/readyz"].map((endpoint) => ask(settings.web.listen, endpoint)));
        if (options.json === true) printJson(answers);
        else
          for (const { endpoint, ok, detail } of answers) printLine(`${endpoint} ${ok ? "ok" : `failed: ${detail}`}`);
        return answers.every(({ ok }) => ok) ? EXIT.ok : EXIT.no;
      }),
    ),
  );
}

async function ask(listen: Settings["web"]["listen"], endpoint: string): Promise<Health> {
  const url = `http://${reachable(listen.host)}:${listen.port}${endpoint}`;
  try {
    const answer = await fetch(url, { redirect: "manual", signal: AbortSignal.timeout(DEADLINE_MS) });
    const body = printable((await answer.text()).slice(0, MAX_DETAIL));
    return { endpoint, ok: answer.status === 200, detail: answer.status === 200 ? body : `${answer.status} ${body}` };
  } catch (cause) {
    return { endpoint, ok: false, detail: `no answer from ${url}: ${reason(cause)}` };
  }
}

/** A listener on every address is asked on the loopback one. */
function reachable(host: string): string {
  if (host === "0.0.0.0") return "127.0.0.1";
  if (host === "::") return "[::1]";
  return isIPv6(host) ? `[${host}]` : host;
}

// fetch says "fetch failed" and keeps the reason in the cause
function reason(cause: unknown): string {
  if (!(cause instanceof Error)) return String(cause);
  return cause.cause instanceof Error ? cause.cause.message : cause.message;
}
