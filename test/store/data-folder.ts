// A data folder for a test, with a store that can be opened again and again.
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStore, type Store, type StoreSettings } from "../../src/store/open.ts";
import { manualClock, type ManualClock } from "../manual-clock.ts";

export type DataFolder = {
  readonly dataDir: string;
  readonly keyFile: string;
  readonly clock: ManualClock;
  /** As `serve` opens it, with the key and what a crash has left removed. */
  serve(settings?: Partial<StoreSettings>): Promise<Store>;
  /** As a command opens it. */
  open(): Promise<Store>;
  bodyFiles(): string[];
  /** Closes every store and removes the folder. */
  remove(): Promise<void>;
};

export function dataFolder(): DataFolder {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-store-"));
  const dataDir = join(folder, "data");
  const keyFile = join(folder, "secret.key");
  const clock = manualClock();
  const stores = new Set<Store>();
  const opened = async (settings: Partial<StoreSettings> = {}) => {
    const store = await openStore({ dataDir, secretKeyFile: keyFile, ...settings }, clock);
    const tracked = { ...store, close: () => (stores.delete(tracked) ? store.close() : Promise.resolve()) };
    stores.add(tracked);
    return tracked;
  };
  return {
    dataDir,
    keyFile,
    clock,
    open: () => opened(),
    async serve(settings) {
      const store = await opened(settings);
      await store.recover();
      return store;
    },
    bodyFiles: () =>
      readdirSync(join(dataDir, "bodies"), { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath, entry.name)),
    async remove() {
      for (const store of stores) await store.close();
      rmSync(folder, { recursive: true });
    },
  };
}
