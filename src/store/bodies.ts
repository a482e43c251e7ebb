// Bodies: sealed messages too large for a row, as files DATADIR/bodies/xx/ID.
import { existsSync } from "node:fs";
import { mkdir, open, readdir, rm, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { isMessageId } from "../spool/message-id.ts";
import { syncFolder } from "../spool/secret-key.ts";
import type { SyncWatch } from "./sync-fault.ts";

const FOLDER_LETTERS = 2;

/** A file that is being written. It has its final name at once: without a row it is an orphan, which the next start removes. */
export type GrowingBody = {
  write(pieces: readonly Uint8Array[]): Promise<void>;
  /** Octets and name are on stable storage afterwards. */
  finish(): Promise<void>;
  abort(): Promise<void>;
};

export class Bodies {
  readonly #folder: string;
  readonly #watch: SyncWatch;

  constructor(dataDir: string, watch: SyncWatch) {
    this.#folder = join(dataDir, "bodies");
    this.#watch = watch;
  }

  async create(id: string): Promise<GrowingBody> {
    const folder = this.#folderOf(id);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const path = join(folder, id);
    const file = await open(path, "wx", 0o600);
    return {
      async write(pieces) {
        for (const piece of pieces) await writeWhole(file, piece);
      },
      finish: async () => {
        await this.#watch.around(file.sync());
        await file.close();
        await this.#watch.around(syncFolder(folder));
        await this.#watch.around(syncFolder(this.#folder));
      },
      async abort() {
        await file.close().catch(() => undefined);
        await rm(path, { force: true });
      },
    };
  }

  pathOf(id: string): string {
    return join(this.#folderOf(id), id);
  }

  async remove(id: string): Promise<void> {
    await rm(this.pathOf(id), { force: true });
  }

  /** Whether this data folder was ever served: the first start makes the folder after the database. */
  get isThere(): boolean {
    return existsSync(this.#folder);
  }

  /**
   * Makes the folder and removes every body whose message is not known; returns how many. Only while nothing is being
   * received. What is not named like a body is not ours and stays.
   */
  async removeOrphans(isKnown: (id: string) => boolean): Promise<number> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await syncFolder(dirname(this.#folder));
    let removed = 0;
    for (const folder of await readdir(this.#folder)) {
      if (folder.length !== FOLDER_LETTERS) continue;
      for (const id of await readdir(join(this.#folder, folder))) {
        if (!isMessageId(id) || isKnown(id)) continue;
        await rm(join(this.#folder, folder, id));
        removed++;
      }
    }
    return removed;
  }

  /** The last letters of an id are random: they spread the files evenly. */
  #folderOf(id: string): string {
    return join(this.#folder, id.slice(-FOLDER_LETTERS));
  }
}

async function writeWhole(file: FileHandle, octets: Uint8Array): Promise<void> {
  for (let at = 0; at < octets.length;) at += (await file.write(octets, at, octets.length - at)).bytesWritten;
}
