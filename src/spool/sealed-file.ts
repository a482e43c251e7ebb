// SealedFile: a sealed body that is a file of its own, and how it is read, by whichever thread.
import type { KeyObject } from "node:crypto";
import { open } from "node:fs/promises";
import type { Sized } from "../mail/chunks.ts";
import { DamagedMessage, opened, type SealedSource } from "./seal.ts";

export type SealedFile = {
  readonly path: string;
  /** Of the message that it was sealed for. */
  readonly id: string;
  /** Sealed octets. */
  readonly size: number;
  readonly secretKey: KeyObject;
};

/** The clear octets of a message, and where they come from when that is a file. */
export type StoredContent = Sized & { readonly sealedFile?: SealedFile };

/** The clear octets of a file, as `opened` gives them. */
export function openedFile(sealedFile: SealedFile): StoredContent {
  return { ...opened(sealedFile.secretKey, sealedFile.id, sourceOf(sealedFile)), sealedFile };
}

function sourceOf({ path, id, size }: SealedFile): SealedSource {
  return {
    size,
    async open() {
      const file = await open(path, "r").catch((cause: unknown) => {
        throw isMissing(cause) ? new DamagedMessage(id, "is missing", { cause }) : cause;
      });
      return {
        async read(offset, length) {
          const octets = Buffer.allocUnsafe(length);
          const { bytesRead } = await file.read(octets, 0, length, offset);
          if (bytesRead !== length) throw new DamagedMessage(id, "is cut off");
          return octets;
        },
        close: () => file.close(),
      };
    },
  };
}

function isMissing(cause: unknown): boolean {
  return (cause as NodeJS.ErrnoException).code === "ENOENT";
}
