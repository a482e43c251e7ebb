// Amounts: durations (30s 5m 2h 7d) and sizes (25MiB) as the configuration file writes them.
import { leaf, shown, Wrong } from "./leaf.ts";

const DURATION_UNITS = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
] as const;
const SIZE_UNITS = [
  ["GiB", 1024 ** 3],
  ["MiB", 1024 ** 2],
  ["KiB", 1024],
] as const;
const DURATION = /^([1-9]\d{0,8})([smhd])$/;
const SIZE = /^([1-9]\d{0,15})(KiB|MiB|GiB)?$/;

/** A duration in milliseconds; `0` is allowed only where it has a meaning of its own. */
export function duration({ mayBeZero = false } = {}) {
  const allowed = mayBeZero ? "a duration such as 30s, 5m, 2h or 7d, or 0" : "a duration such as 30s, 5m, 2h or 7d";
  const pattern = mayBeZero ? "^(0|[1-9][0-9]{0,8}[smhd])$" : "^[1-9][0-9]{0,8}[smhd]$";
  return leaf<number>(
    mayBeZero ? { type: ["string", "integer"], pattern, minimum: 0, maximum: 0 } : { type: "string", pattern },
    (given) => {
      if (mayBeZero && (given === 0 || given === "0")) return 0;
      const [, amount, unit] = (typeof given === "string" && DURATION.exec(given)) || [];
      const unitMs = DURATION_UNITS.find(([name]) => name === unit)?.[1];
      return unitMs === undefined ? new Wrong(`must be ${allowed}, not ${shown(given)}`) : Number(amount) * unitMs;
    },
    writeDuration,
  );
}

/** A size in bytes. */
export function size() {
  return leaf<number>(
    { type: ["string", "integer"], pattern: "^[1-9][0-9]{0,15}(KiB|MiB|GiB)?$", minimum: 1 },
    (given) => {
      const [whole, amount, unit] = SIZE.exec(String(given)) ?? [];
      const bytes = Number(amount) * (SIZE_UNITS.find(([name]) => name === unit)?.[1] ?? 1);
      const isText = typeof given === "string" || typeof given === "number";
      return isText && whole !== undefined && Number.isSafeInteger(bytes)
        ? bytes
        : new Wrong(`must be a size such as 512KiB, 25MiB or 1GiB, or a number of bytes, not ${shown(given)}`);
    },
    writeSize,
  );
}

export function writeDuration(durationMs: number): string | number {
  const unit = DURATION_UNITS.find(([, unitMs]) => durationMs > 0 && durationMs % unitMs === 0);
  return unit === undefined ? 0 : `${durationMs / unit[1]}${unit[0]}`;
}

export function writeSize(bytes: number): string | number {
  const unit = SIZE_UNITS.find(([, unitBytes]) => bytes % unitBytes === 0);
  return unit === undefined ? bytes : `${bytes / unit[1]}${unit[0]}`;
}
