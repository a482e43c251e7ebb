// How Node is to run Sealpost; imported before anything else.
//
// What Node makes of the source is kept beside the dependencies: it starts faster and smaller the next time. Without a folder to write to
// nothing is kept. Never in a folder for temporary files, where others could put what we then run.
// The space for new objects stays as small as it is at the start: a mail leaves few objects, its octets lie elsewhere, and the 32 MiB
// that V8 lets it grow to cost memory and caches and save nothing.
import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";
import { setFlagsFromString } from "node:v8";

enableCompileCache(fileURLToPath(new URL("../node_modules/.cache/sealpost", import.meta.url)));
setFlagsFromString("--semi-space-growth-factor=1");
