// Disk room: one look holds for a while, but never "not enough".
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { diskRoom } from "../../src/store/disk-room.ts";

const KIB = 1024;
let disk: string;
let now: number;
let hasRoom: () => boolean;
const fill = () => writeFileSync(join(disk, "ballast"), Buffer.alloc(48 * KIB));

beforeEach(() => {
  disk = mkdtempSync(join(tmpdir(), "sealpost-room-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]);
  onTestFinished(() => {
    execFileSync("umount", [disk]);
    rmSync(disk, { recursive: true });
  });
  now = 1_000;
  hasRoom = diskRoom(disk, 32 * KIB, () => now);
});

test("a look holds for 20 ms, and no longer", () => {
  expect(hasRoom()).toBe(true);
  fill();
  now += 19;
  expect(hasRoom()).toBe(true);
  now += 1;
  expect(hasRoom()).toBe(false);
});

test("a look holds for 32 answers, and no longer", () => {
  expect(hasRoom()).toBe(true);
  fill();
  expect(Array.from({ length: 31 }, hasRoom)).not.toContain(false);
  expect(hasRoom()).toBe(false);
});

test("when there was not enough, each asking looks anew", () => {
  fill();
  expect([hasRoom(), hasRoom()]).toEqual([false, false]);
  rmSync(join(disk, "ballast"));
  expect(hasRoom()).toBe(true);
});
