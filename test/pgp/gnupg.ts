// A GnuPG home of its own for one test file, with the fixtures' secret keys or empty, and gpg run on it.
import { chmodSync, cpSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixture } from "../fixtures.ts";

export type GnupgHome = {
  /** Runs gpg in batch mode; throws when it cannot be started. */
  run(args: readonly string[], input?: Uint8Array): { status: number | null; stdout: Buffer; stderr: string };
  close(): void;
};

export function gnupgHome(withFixtureKeys: boolean): GnupgHome {
  const home = mkdtempSync(join(tmpdir(), "gnupg-"));
  chmodSync(home, 0o700);
  if (withFixtureKeys) {
    cpSync(fixture("pgp/gnupghome"), home, { recursive: true });
    for (const entry of readdirSync(home, { recursive: true, withFileTypes: true }))
      chmodSync(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o700 : 0o600);
    chmodSync(home, 0o700);
  }
  return {
    run(args, input) {
      const gpg = spawnSync("gpg", ["--batch", "--homedir", home, ...args], { input, maxBuffer: 64 * 1024 * 1024 });
      if (gpg.error !== undefined) throw gpg.error;
      return { status: gpg.status, stdout: gpg.stdout, stderr: gpg.stderr.toString() };
    },
    close() {
      spawnSync("gpgconf", ["--homedir", home, "--kill", "all"]);
      rmSync(home, { recursive: true, force: true });
    },
  };
}
