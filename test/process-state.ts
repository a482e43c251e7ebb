// What the kernel says of a process: its memory and its open descriptors.
import { readdirSync, readFileSync } from "node:fs";

export type ProcessState = { readonly rssMiB: number; readonly descriptors: number };

export function stateOf(pid: number): ProcessState {
  return { rssMiB: Math.round(memoryMiB(pid, "VmRSS")), descriptors: readdirSync(`/proc/${pid}/fd`).length };
}

/** Resident now, or at the most ever. */
export function memoryMiB(pid: number | undefined, field: "VmRSS" | "VmHWM"): number {
  return Number.parseInt(statusOf(pid, field), 10) / 1024;
}

/** A line of proc_pid_status(5). */
export function statusOf(pid = 0, field: string): string {
  const line = readFileSync(`/proc/${pid}/status`, "utf8")
    .split("\n")
    .find((one) => one.startsWith(`${field}:`));
  return line?.slice(field.length + 1).trim() ?? "";
}
