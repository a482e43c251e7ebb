// Power loss: the data folder is an ext4 of its own; what its disk holds at a random moment of the load is what the next start finds.
//
// The process is stopped, not ended, while the image is copied, so that the copy is of one moment: what the file system has not yet
// given to its disk is missing from it, as after a power cut. Not tried is a disk that tears or reorders what is in its own cache.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, createReadStream, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { expect, test } from "vitest";
import { JiraSession } from "../e2e/jira.ts";
import { faultStage, LARGE_BYTES, type FaultStage } from "./fault-stage.ts";

const IMAGE_BYTES = 64 * 1024 * 1024;
const CUTS = 3;

async function digest(path: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(path), hash);
  return hash.digest("hex");
}

/** A copy of the image in which nothing has changed while it was made. */
async function copyOfOneMoment(image: string, copy: string): Promise<void> {
  for (let attempt = 0; attempt < 20; attempt++) {
    copyFileSync(image, copy);
    if ((await digest(image)) === (await digest(copy))) return;
  }
  throw new Error("the disk never stands still");
}

async function loadUntil(stage: FaultStage, count: number): Promise<{ ended: Promise<unknown> }> {
  const send = async () => {
    try {
      const session = await JiraSession.open(stage.relay.port);
      for (let number = 1; ; number++) await stage.send({ session, sizeBytes: number % 4 === 0 ? LARGE_BYTES : 0 });
    } catch {
      // the power is gone
    }
  };
  const ended = Promise.all([send(), send(), send()]);
  await expect.poll(() => stage.ledger.size, { timeout: 30_000, interval: 1 }).toBeGreaterThanOrEqual(count);
  return { ended };
}

test(`REL-19: after ${CUTS} power cuts under load every message that was acknowledged is there and arrives whole`, async () => {
  const place = mkdtempSync(join(tmpdir(), "sealpost-power-"));
  let data = "";
  let image = join(place, "0.img");
  const mount = () => execFileSync("mount", ["-o", "loop", image, data]);
  const stage = await faultStage({
    launch: {
      prepare(folder) {
        data = join(folder, "data");
        mkdirSync(data, { mode: 0o700 });
        writeFileSync(image, "");
        truncateSync(image, IMAGE_BYTES);
        execFileSync("mkfs.ext4", ["-q", image]);
        mount();
      },
      cleanUp() {
        execFileSync("umount", [data]);
        rmSync(place, { recursive: true });
      },
    },
  });
  const { relay, upstream, ledger } = stage;
  for (let cut = 1; cut <= CUTS; cut++) {
    // before the first cut nothing leaves, so that all of it must be found; later it leaves as it comes
    upstream.behaviour.reply = ({ verb }) => (verb === "RCPT" && cut === 1 ? "450 4.7.1 later" : undefined);
    const { ended } = await loadUntil(stage, ledger.size + 10 + Math.floor(Math.random() * 20));
    relay.process.kill("SIGSTOP");
    const next = join(place, `${cut}.img`);
    await copyOfOneMoment(image, next);
    await relay.kill();
    await ended;
    execFileSync("umount", [data]);
    image = next;
    mount();
    await relay.start();
  }
  // sent twice may be what was on its way at a cut: two messages for each of 8 connections
  await ledger.expectAllArrived([upstream], { mayRepeat: CUTS * 16, isSample: true });
  await stage.expectNoCanary();
  expect(await relay.stop()).toBe(0);
});
