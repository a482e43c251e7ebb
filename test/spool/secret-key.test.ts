// The secret key file: made once, kept from others, never replaced.
import { execFileSync } from "node:child_process";
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { isKeyOf, keyCheckValue, loadSecretKey } from "../../src/spool/secret-key.ts";

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "sealpost-key-"));
  path = join(folder, "keys", "secret.key");
});
afterEach(() => rm(folder, { recursive: true }));

test("the key is made on first start with mode 0600, whatever the umask, and read again later", async () => {
  const umask = process.umask(0);
  const made = await loadSecretKey(path, true).finally(() => process.umask(umask));
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await readdir(join(folder, "keys"))).toEqual(["secret.key"]);
  const again = await loadSecretKey(path, false);
  expect(again.export().equals(made.export())).toBe(true);
  expect(isKeyOf(again, keyCheckValue(made))).toBe(true);
});

test("two that make it at the same time get the same key", async () => {
  const keys = await Promise.all([1, 2, 3, 4].map(() => loadSecretKey(path, true)));
  expect(new Set(keys.map((key) => key.export().toString("hex"))).size).toBe(1);
  expect(await readdir(join(folder, "keys"))).toEqual(["secret.key"]);
});

test("two keys are told apart by their check values, which do not show the key", async () => {
  const one = await loadSecretKey(path, true);
  const two = await loadSecretKey(`${path}2`, true);
  expect(isKeyOf(one, keyCheckValue(two))).toBe(false);
  expect(keyCheckValue(one)).not.toContain(one.export().toString("hex"));
});

test("a key may be what openssl makes", async () => {
  await mkdir(join(folder, "keys"));
  await writeFile(path, execFileSync("openssl", ["rand", "-base64", "32"]), { mode: 0o600 });
  expect((await loadSecretKey(path, false)).symmetricKeySize).toBe(32);
});

test("a missing key is not made where the spool was already sealed", async () => {
  await expect(loadSecretKey(path, false)).rejects.toThrow(/is missing and the spool was sealed with it/);
  await expect(stat(path)).rejects.toThrow();
});

test.each([0o640, 0o604, 0o620, 0o660, 0o644])("a key of mode %o is refused", async (mode) => {
  await loadSecretKey(path, true);
  await chmod(path, mode);
  await expect(loadSecretKey(path, true)).rejects.toThrow(/open to group or others \(mode 6[0-7]{2}\); chmod 600/);
});

test.each([
  ["empty", ""],
  ["short", `${Buffer.alloc(31).toString("base64")}\n`],
  ["long", `${Buffer.alloc(33).toString("base64")}\n`],
  ["very long", "A".repeat(10_000)],
  ["binary", Buffer.alloc(32, 200)],
])("a key file that is %s is refused and left as it is", async (_, content) => {
  await mkdir(join(folder, "keys"));
  await writeFile(path, content, { mode: 0o600 });
  await expect(loadSecretKey(path, true)).rejects.toThrow(/is not one line of base64 of 32 octets; see secretKeyFile/);
  expect((await readFile(path)).equals(Buffer.from(content))).toBe(true);
});

test("a folder and a named pipe are no keys; a link to a key is followed", async () => {
  await mkdir(path, { recursive: true });
  await expect(loadSecretKey(path, true)).rejects.toThrow(/is not a regular file/);
  execFileSync("mkfifo", ["-m", "600", join(folder, "pipe")]);
  await expect(loadSecretKey(join(folder, "pipe"), true)).rejects.toThrow(/is not a regular file/);
  const key = await loadSecretKey(join(folder, "real.key"), true);
  await symlink("real.key", join(folder, "link.key"));
  expect((await loadSecretKey(join(folder, "link.key"), false)).equals(key)).toBe(true);
});
