// The spool on SQLite keeps the contract of Spool.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStore } from "../../src/store/open.ts";
import { spoolContract } from "./spool-contract.ts";

spoolContract("SQLite", {
  async open(clock) {
    const dataDir = mkdtempSync(join(tmpdir(), "sealpost-spool-"));
    const store = await openStore({ dataDir, secretKeyFile: join(dataDir, "secret.key") }, clock);
    await store.recover();
    return {
      spool: store.spool,
      async close() {
        await store.close();
        rmSync(dataDir, { recursive: true });
      },
    };
  },
});
