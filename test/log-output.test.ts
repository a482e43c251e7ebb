// The log's way out: a reader that is stuck, or a full disk, costs lines and nothing else, and the loss is told.
import { execFileSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { logOutput, toFile, toReader, type LogOutput } from "../src/log-output.ts";

const lossLine = (lost: number) => `${lost} lost\n`;
const atOnce =
  ({ write, flush }: LogOutput) =>
  (line: string) => {
    write(line);
    flush();
  };

test("the lines of one turn go out together; before its end only when they are many, or it is said", async () => {
  const written: string[] = [];
  const output = logOutput((lines) => (written.push(lines), 0), lossLine);
  output.write("a\n");
  output.write("b\n");
  expect(written).toEqual([]);
  await new Promise((resolve) => setImmediate(resolve));
  expect(written).toEqual(["a\nb\n"]);
  output.write("c\n");
  output.flush();
  output.flush();
  output.write(`${"d".repeat(64 * 1024)}\n`);
  expect(written.slice(1).map((text) => text.length)).toEqual([2, 64 * 1024 + 1]);
});

test("of lines that go out together each that is lost counts, and those before it are there", () => {
  const written: string[] = [];
  const answers = [0, 2, 0, 0];
  const output = logOutput((lines) => (written.push(lines), answers.shift() ?? 0), lossLine);
  for (const turn of [["a\n"], ["b\n", "c\n", "d\n"], ["e\n", "f\n"]]) {
    turn.forEach(output.write);
    output.flush();
  }
  expect(written).toEqual(["a\n", "b\nc\nd\n", "2 lost\n", "e\nf\n"]);
});

/** A log on a disk of 16 KiB, and how to fill half of that. */
function smallDisk() {
  const disk = mkdtempSync(join(tmpdir(), "sealpost-log-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=16k", "tmpfs", disk]);
  onTestFinished(() => {
    execFileSync("umount", [disk]);
    rmSync(disk, { recursive: true });
  });
  const path = join(disk, "log");
  const fd = openSync(path, "a");
  onTestFinished(() => closeSync(fd));
  const ballast = join(disk, "ballast");
  const fillHalf = () => writeFileSync(ballast, Buffer.alloc(8_192));
  return { fd, fillHalf, empty: () => rmSync(ballast), lines: () => readFileSync(path, "utf8").split("\n") };
}

test("of three lines that go out together, one finds room on a disk that fills: two are lost", () => {
  const { fd, fillHalf, empty, lines } = smallDisk();
  fillHalf();
  const write = toFile(fd);
  expect(write(`${"a".repeat(4_095)}\n${"b".repeat(8_192)}\nc\n`)).toBe(2);
  expect(write("c\n")).toBe(1);
  empty();
  expect(write("d\n")).toBe(0);
  const [first, torn, ...rest] = lines();
  expect([first, torn]).toEqual(["a".repeat(4_095), expect.stringMatching(/^b+$/)]);
  expect(rest).toEqual(["d", ""]);
});

test("lines that find more than 1 MiB unread are lost, and the next that does not says how many", () => {
  const written: string[] = [];
  const stdout = { writableLength: 0, write: (line: string) => written.push(line) > 0 };
  const write = atOnce(logOutput(toReader(stdout), lossLine));
  write("a\n");
  stdout.writableLength = 1024 * 1024 + 1;
  write("b\n");
  write("c\n");
  stdout.writableLength = 0;
  write("d\n");
  write("e\n");
  expect(written).toEqual(["a\n", "2 lost\n", "d\n", "e\n"]);
});

test("lines that find a full disk below their file are lost, and the next that does not says how many", () => {
  const { fd, fillHalf, empty, lines } = smallDisk();
  const write = atOnce(logOutput(toFile(fd), lossLine));
  write("a\n");
  fillHalf();
  write(`${"b".repeat(8_192)}\n`);
  write("c\n");
  empty();
  write("d\n");
  write("e\n");
  const [first, torn, ...rest] = lines();
  expect([first, torn]).toEqual(["a", expect.stringMatching(/^b*$/)]);
  expect(rest).toEqual(["2 lost", "d", "e", ""]);
});
