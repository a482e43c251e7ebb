// Where the second thread begins (src/wiring/departure-thread.ts).
import "./compile-cache.js";
import { flushCompileCache } from "node:module";

await import("../src/wiring/departure-thread.ts");
// by itself Node keeps it only at a regular end
flushCompileCache();
