// Waiting for something only until a signal fires.
import { asError } from "./as-error.ts";

/** What `work` comes to; rejects with `fault` as soon as `signal` fires, and leaves `work` to itself. */
export async function unlessAborted<T>(
  work: Promise<T>,
  signal: AbortSignal,
  fault: () => Error = () => asError(signal.reason),
): Promise<T> {
  const aborted = Promise.withResolvers<never>();
  const end = () => aborted.reject(fault());
  if (signal.aborted) end();
  signal.addEventListener("abort", end, { once: true });
  try {
    return await Promise.race([work, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", end);
  }
}
