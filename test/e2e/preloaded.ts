// Preloaded: the real process with a fault put into it before the program starts.
import type { Launch } from "../relay.ts";

/** Runs this program (an ES module without imports of files) before everything else; `more` are further options of Node. */
export function preloaded(program: string, more: readonly string[] = []): Launch {
  const url = `data:text/javascript,${encodeURIComponent(program)}`;
  return { env: { NODE_OPTIONS: [`--import=${url}`, ...more].join(" ") } };
}

/** RSA encryption throws for keys of so many bits, except when a key is merely tried with a session key of zeros. */
export const withoutRsaKeysOf = (bits: number): Launch => onRsaKeysOf(bits, 'throw new Error("the engine fails")');

/** The same, and the process is killed by it. */
export const killedByRsaKeysOf = (bits: number): Launch => onRsaKeysOf(bits, 'process.kill(process.pid, "SIGKILL")');

const onRsaKeysOf = (bits: number, act: string): Launch =>
  preloaded(`
    import crypto from "node:crypto";
    import { syncBuiltinESMExports } from "node:module";
    const real = crypto.publicEncrypt;
    crypto.publicEncrypt = (settings, content) => {
      const isTrial = content.subarray(1).every((octet) => octet === 0);
      if (!isTrial && settings.key.asymmetricKeyDetails.modulusLength === ${bits}) ${act};
      return real(settings, content);
    };
    syncBuiltinESMExports();
  `);
