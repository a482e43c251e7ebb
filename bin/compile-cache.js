// What Node makes of the source is kept beside the dependencies: it starts faster and smaller the next time. Each thread has to ask for it,
// before it imports the source. Without a folder to write to nothing is kept. Never in a folder for temporary files, where others could
// put what we then run.
import { enableCompileCache } from "node:module";
import { fileURLToPath } from "node:url";

enableCompileCache(fileURLToPath(new URL("../node_modules/.cache/sealpost", import.meta.url)));
