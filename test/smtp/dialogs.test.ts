// Every dialog of test/dialogs against a real listener: at once, octet by octet, and in random pieces, with one outcome.
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { setImmediate } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import { Secret } from "../../src/secret.ts";
import type { Envelope } from "../../src/smtp/intake.ts";
import type { ListenerSettings } from "../../src/smtp/listener.ts";
import { Client, openDoor, type Door } from "./recording-door.ts";

type Dialog = { readonly title: string; readonly isWhole: boolean; readonly lines: readonly string[] };
type Cutter = (segment: Buffer) => Buffer[];

const folder = new URL("../dialogs/", import.meta.url);
const files = readdirSync(folder).filter((name) => name.endsWith(".txt"));

let seed = 20_261_123;
/** A random number that is the same in each run. */
function random(below: number): number {
  seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
  return (seed >>> 8) % below;
}

const CUTTERS: Readonly<Record<string, Cutter>> = {
  "at once": (segment) => [segment],
  "octet by octet": (segment) => Array.from(segment, (octet) => Buffer.of(octet)),
  "in random pieces": (segment) => {
    const pieces: Buffer[] = [];
    let next: number;
    for (let at = 0; at < segment.length; at = next) {
      next = at + 1 + random(12);
      pieces.push(segment.subarray(at, next));
    }
    return pieces;
  },
};

function dialogsOf(file: string): Dialog[] {
  const text = readFileSync(new URL(file, folder), "utf8");
  return text.split(/^# /m).flatMap((part) => {
    const [title = "", ...lines] = part.split("\n");
    return title === ""
      ? []
      : [{ title, isWhole: title.endsWith("[whole]"), lines: lines.filter((line) => line !== "") }];
  });
}

/** The text with its escapes as the octets they stand for. */
function octets(text: string): Buffer {
  const escapes: Readonly<Record<string, number>> = { r: 13, n: 10, t: 9, "0": 0, "\\": 92 };
  const parts = text.split(/(\\x[0-9a-f]{2}|\\.)/).map((part) => {
    if (part.startsWith("\\x")) return Buffer.of(parseInt(part.slice(2), 16));
    if (part.startsWith("\\")) return Buffer.of(escapes[part[1]!]!);
    return Buffer.from(part);
  });
  return Buffer.concat(parts);
}

function settingsOf(dialog: Dialog): Partial<ListenerSettings> {
  const line = dialog.lines.find((candidate) => candidate.startsWith("settings: "));
  if (line === undefined) return {};
  const { users = [], ...others } = JSON.parse(line.slice(10)) as { users?: string[]; lineEndings?: "strict" };
  return {
    ...others,
    users: users.map((user) => ({ name: user.split(":")[0]!, password: new Secret(user.split(":")[1]!) })),
  };
}

const doors: Door[] = [];
afterEach(async () => {
  for (const door of doors.splice(0)) await door.listener.close(0);
});

async function replay(dialog: Dialog, cutter: Cutter): Promise<void> {
  const door = await openDoor(settingsOf(dialog));
  doors.push(door);
  const client = new Client(connect({ port: door.port, host: "127.0.0.1", noDelay: true }));
  let segment: Buffer[] = [];
  let replied: string[] = [];
  for (const [index, line] of dialog.lines.entries()) {
    const text = line.slice(3);
    if (line.startsWith("C:")) segment.push(octets(text), Buffer.from("\r\n"));
    if (line.startsWith("R:")) segment.push(octets(text));
    if (segment.length > 0 && !/^[CR]:/.test(dialog.lines[index + 1] ?? "")) {
      for (const piece of cutter(Buffer.concat(segment))) {
        client.write(piece.toString("latin1"));
        await setImmediate();
      }
      segment = [];
    }
    if (!line.startsWith("S:")) continue;
    if (replied.length === 0) replied = (await client.reply()).split("\r\n");
    const got = replied.shift()!;
    const where = `line ${index + 1}: ${line}`;
    if (text === "closed") expect(got, where).toBe("");
    else if (text.endsWith("…")) expect(got.slice(0, text.length - 1), where).toBe(text.slice(0, -1));
    else expect(got, where).toBe(text.trimEnd());
  }
  const messages = dialog.lines.filter((line) => line.startsWith("M: "));
  expect(door.stored.map((stored) => shown(stored.envelope, stored.content))).toEqual(
    messages.map((line) => octets(line.slice(3)).toString("latin1")),
  );
  expect(door.seen.filter(([name]) => name === "fault")).toEqual([]);
}

function shown(envelope: Envelope, content: string): string {
  const recipients = envelope.recipients.map((recipient) => `<${recipient.mailbox.address}>`).join(" ");
  const addresses = `<${envelope.reversePath?.address ?? ""}> to ${recipients}`;
  return `${Buffer.from(addresses).toString("latin1")} : ${content}`;
}

test("there are dialogs", () => {
  expect(files.flatMap(dialogsOf).length).toBeGreaterThan(20);
});

describe.each(files)("%s", (file) => {
  for (const dialog of dialogsOf(file))
    for (const [manner, cutter] of Object.entries(CUTTERS))
      if (!dialog.isWhole || manner === "at once") test(`${dialog.title}, ${manner}`, () => replay(dialog, cutter));
});
