// The secret key missing, wrong or open to others at the start: a refusal that says so, and nothing lost when it is put back.
import { chmodSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { faultStage, LARGE_BYTES } from "./fault-stage.ts";

test("a start without the right secret key is refused each time, and with it everything is there", async () => {
  const stage = await faultStage();
  const { relay, upstream } = stage;
  upstream.behaviour.reply = ({ verb }) => (verb === "MAIL" ? "451 4.3.0 later" : undefined);
  expect(await stage.send()).toMatch(/^250 /);
  expect(await stage.send({ sizeBytes: LARGE_BYTES })).toMatch(/^250 /);
  await relay.kill();
  upstream.behaviour.reply = () => undefined;
  const file = join(relay.folder, "secret.key");
  const right = readFileSync(file);
  const wrongs: readonly [() => void, RegExp][] = [
    [
      () => renameSync(file, `${file}.away`),
      /secret\.key is missing and the spool was sealed with it; put it back or set secretKeyFile/,
    ],
    [
      () => writeFileSync(file, `${Buffer.alloc(32, 7).toString("base64")}\n`, { mode: 0o600 }),
      /is not the one that this spool was sealed with; put that one back or set secretKeyFile/,
    ],
    [() => writeFileSync(file, right.subarray(0, 20)), /is not one line of base64 of 32 octets; see secretKeyFile/],
    [() => chmodSync(file, 0o644), /is open to group or others \(mode 644\); chmod 600 it, or see secretKeyFile/],
  ];
  for (const [spoil, says] of wrongs) {
    spoil();
    const { code, stderr } = await relay.run(["serve"]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringMatching(says) as string });
  }
  expect(upstream.transactions).toEqual([]);
  await stage.expectNoCanary();
  rmSync(file);
  renameSync(`${file}.away`, file);
  await relay.start();
  await stage.expectGoodEnd();
});
