// The log's way out: a reader that is stuck costs lines and nothing else, and the loss is told.
import { expect, test } from "vitest";
import { logOutput } from "../src/log-output.ts";

test("lines that find more than 1 MiB unread are lost, and the next that does not says how many", () => {
  const written: string[] = [];
  const stdout = { writableLength: 0, write: (line: string) => written.push(line) > 0 };
  const output = logOutput(stdout, (lost) => `${lost} lost\n`);
  output.write("a\n");
  stdout.writableLength = 1024 * 1024 + 1;
  output.write("b\n");
  output.write("c\n");
  stdout.writableLength = 0;
  output.write("d\n");
  output.write("e\n");
  expect(written).toEqual(["a\n", "2 lost\n", "d\n", "e\n"]);
});
