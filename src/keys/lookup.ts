// Lookup: the answer of a key source; a source that failed is never the same as one without a key.
import { asError } from "../as-error.ts";

/** `failed` means unknown: the mail waits. Only `absent` may lead to the fallback. */
export type Lookup<T> =
  | { readonly kind: "found"; readonly value: T }
  | { readonly kind: "absent" }
  | { readonly kind: "failed"; readonly cause: Error };

export const absent = { kind: "absent" } as const;

export function found<T>(value: T): { readonly kind: "found"; readonly value: T } {
  return { kind: "found", value };
}

export function failed(cause: unknown): { readonly kind: "failed"; readonly cause: Error } {
  return { kind: "failed", cause: asError(cause) };
}
