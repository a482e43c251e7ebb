// How Node is to run Sealpost; imported before anything else.
//
// The space for new objects stays small until the relay serves (src/cli/serve.ts): what a start leaves behind would keep it large. Then
// it may grow to thrice 8 MiB: where less room is, mail in work is taken for what stays, and costs a fifth more; V8's own bound costs memory.
// It is cleared by the main thread alone, for others would have to be woken. V8 reads the bound only when it starts: so serve begins once
// more, as the same process, unless whoever starts it has set that bound.
import "./compile-cache.js";
import { setFlagsFromString } from "node:v8";

const BOUND = "--max-semi-space-size";
const isBounded = [...process.execArgv, process.env.NODE_OPTIONS ?? ""].some((text) => text.includes(BOUND));

if (process.argv[2] === "serve" && !isBounded && process.execve !== undefined) {
  const again = [process.execPath, `${BOUND}=8`, ...process.execArgv, ...process.argv.slice(1)];
  process.execve(process.execPath, again, process.env);
}
setFlagsFromString("--semi-space-growth-factor=1");
setFlagsFromString("--no-parallel-scavenge");
