// The log's way out: a reader that is stuck, or a full disk, costs lines and nothing else, and the loss is told.
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { logOutput, toFile, toReader } from "../src/log-output.ts";

const lossLine = (lost: number) => `${lost} lost\n`;

test("lines that find more than 1 MiB unread are lost, and the next that does not says how many", () => {
  const written: string[] = [];
  const stdout = { writableLength: 0, write: (line: string) => written.push(line) > 0 };
  const output = logOutput(toReader(stdout), lossLine);
  output.write("a\n");
  stdout.writableLength = 1024 * 1024 + 1;
  output.write("b\n");
  output.write("c\n");
  stdout.writableLength = 0;
  output.write("d\n");
  output.write("e\n");
  expect(written).toEqual(["a\n", "2 lost\n", "d\n", "e\n"]);
});

test("lines that find a full disk below their file are lost, and the next that does not says how many", () => {
  const disk = mkdtempSync(join(tmpdir(), "sealpost-log-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=16k", "tmpfs", disk]);
  onTestFinished(() => {
    execFileSync("umount", [disk]);
    rmSync(disk, { recursive: true });
  });
  const fd = openSync(join(disk, "log"), "a");
  onTestFinished(() => closeSync(fd));
  const output = logOutput(toFile(fd), lossLine);
  output.write("a\n");
  writeFileSync(join(disk, "ballast"), Buffer.alloc(8_192));
  output.write(`${"b".repeat(8_192)}\n`);
  output.write("c\n");
  rmSync(join(disk, "ballast"));
  output.write("d\n");
  output.write("e\n");
  const [first, torn, ...rest] = readFileSync(join(disk, "log"), "utf8").split("\n");
  expect([first, torn]).toEqual(["a", expect.stringMatching(/^b*$/)]);
  expect(rest).toEqual(["2 lost", "d", "e", ""]);
});
