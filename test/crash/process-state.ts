// What the kernel says of a process: its memory and its open descriptors.
import { readdirSync, readFileSync } from "node:fs";

export type ProcessState = { readonly rssMiB: number; readonly descriptors: number };

export function stateOf(pid: number): ProcessState {
  const rssKiB = Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]);
  return { rssMiB: Math.round(rssKiB / 1024), descriptors: readdirSync(`/proc/${pid}/fd`).length };
}
