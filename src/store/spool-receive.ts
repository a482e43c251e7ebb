// Receive: a message on its way into the spool; sealed as it arrives, small ones in memory, larger ones into a file.
import type { KeyObject } from "node:crypto";
import { sealer } from "../spool/seal.ts";
import type { Receiving, Route } from "../spool/spool.ts";
import type { Bodies, GrowingBody } from "./bodies.ts";
import type { Due } from "./due-messages.ts";
import type { GroupCommit } from "./group-commit.ts";
import type { SpoolRows } from "./spool-rows.ts";
import { storageError } from "./storage-error.ts";

/** Sealed bodies up to this size live in a row. */
export const MAX_ROW_BYTES = 256 * 1024;

/** Points at which the crash tests end the process. */
export type Step =
  "body written" | "body synced" | "rows inserted" | "committed" | "outcomes written" | "settled" | "body removed";

export type ReceiveParts = {
  readonly secretKey: KeyObject;
  readonly bodies: Bodies;
  readonly rows: SpoolRows;
  readonly commits: GroupCommit;
  readonly now: () => number;
  readonly onStep: (step: Step) => void;
  /** Called when the message was committed; `clear` are all of its octets, if it is short. */
  readonly onStored: (route: Route, message: Due, clear: Uint8Array | undefined) => void;
  /** Called when the message was committed or given up. */
  readonly onEnd: () => void;
};

export function receive(id: string, parts: ReceiveParts): Receiving {
  const { bodies, rows, commits, now, onStep, onStored, onEnd } = parts;
  const seal = sealer(parts.secretKey, id);
  let inMemory: Uint8Array[] = [];
  let inMemoryBytes = 0;
  let size = 0;
  let file: GrowingBody | undefined;
  let fault: Error | undefined;

  const keep = async (pieces: readonly Uint8Array[]): Promise<void> => {
    if (file !== undefined) {
      await file.write(pieces);
      return;
    }
    inMemory.push(...pieces);
    for (const piece of pieces) inMemoryBytes += piece.length;
    if (inMemoryBytes <= MAX_ROW_BYTES) return;
    file = await bodies.create(id);
    const all = inMemory;
    inMemory = [];
    await file.write(all);
  };
  const abort = async () => {
    fault ??= new Error(`message ${id} was given up`);
    inMemory = [];
    onEnd();
    await file?.abort();
  };
  /** Whatever fails leaves nothing behind, and after a fault nothing of this message can be kept any more. */
  const whole = async <T>(act: () => Promise<T>): Promise<T> => {
    if (fault !== undefined) throw fault;
    try {
      return await act();
    } catch (cause) {
      fault = storageError(cause);
      await abort().catch(() => undefined);
      throw fault;
    }
  };

  return {
    id,
    write: (chunk) =>
      whole(async () => {
        size += chunk.length;
        await keep(seal.update(chunk));
      }),
    commit: (envelope) =>
      whole(async () => {
        await keep(seal.finish());
        if (file !== undefined) {
          onStep("body written");
          await file.finish();
          onStep("body synced");
        }
        const sealed = file === undefined ? Buffer.concat(inMemory) : undefined;
        const stored = await commits.run(() => {
          // given up while it waited for the group
          if (fault !== undefined) throw fault;
          const acceptedAt = now();
          const seq = rows.insert({ id, envelope, acceptedAt, size, sealed });
          onStep("rows inserted");
          return { seq, due_at: acceptedAt };
        });
        onStep("committed");
        onStored(envelope.route, stored, seal.takeWhole());
        onEnd();
      }),
    abort,
  };
}
