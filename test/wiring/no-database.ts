// No database: a key cache that keeps nothing.
import type { KeyCache } from "../../src/keys/key-cache.ts";

export const NO_DATABASE: KeyCache = {
  read: () => Promise.resolve({ epoch: 0, kept: undefined }),
  write: () => Promise.resolve(),
  expire: () => Promise.resolve(),
  keepOnly: () => Promise.resolve(),
};
