// What the system says of a process: CPU time and resident memory. Linux only, as the bench is.
import { readFileSync, writeFileSync } from "node:fs";

const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4_096;

/** Of user and kernel together, in ms, to 10 ms. */
export function cpuMs(pid: number): number {
  // the name of the program, in brackets, may hold anything
  const fields = (statOf(pid).split(") ")[1] ?? "").split(" ");
  return ((Number(fields[11]) + Number(fields[12])) * 1_000) / TICKS_PER_SECOND;
}

export function residentMiB(pid: number): number {
  const pages = Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]);
  return (pages * PAGE_BYTES) / 2 ** 20;
}

/** The most that was resident since the start, or since it was forgotten. */
export function peakMiB(pid: number): number {
  const [, kib = "NaN"] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1")) ?? [];
  return Number(kib) / 1_024;
}

/** proc(5), clear_refs: the peak begins anew at what is resident now. */
export function forgetPeak(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, "5");
}

const statOf = (pid: number) => readFileSync(`/proc/${pid}/stat`, "latin1");
