// The engines side by side in one run: bytes in, encrypted MIME out, ours against openssl and gpg; medians of five.
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { makePgpReader, makeSmimeReader } from "../src/cli/demo-keys.ts";
import type { Split } from "../src/encrypt/cipher.ts";
import { pgpMimeCipher } from "../src/encrypt/pgp-mime.ts";
import { smimeCipher } from "../src/encrypt/smime.ts";
import { pgpKey, smimeKey } from "../src/keys/recipient-key.ts";
import { sizedBytes } from "../src/mail/chunks.ts";
import type { Ciphertext } from "../src/mail/outgoing.ts";
import { decodeArmor } from "../src/pgp/armor.ts";
import { readPgpCertificate } from "../src/pgp/certificate.ts";
import { parseCertificate } from "../src/smime/certificate.ts";

const RUNS = 5;
const SIZES = [32 * 1024, 1024 * 1024, 25 * 1024 * 1024];
const now = Date.now();
const folder = mkdtempSync(join(tmpdir(), "sealpost-bench-"));

async function medianMs(act: () => Promise<void> | void): Promise<number> {
  const times: number[] = [];
  for (let run = 0; run <= RUNS; run++) {
    const since = performance.now();
    await act();
    // the first run warms up
    if (run > 0) times.push(performance.now() - since);
  }
  return times.sort((a, b) => a - b)[Math.floor(RUNS / 2)] ?? 0;
}

async function drain(made: Promise<Ciphertext>): Promise<void> {
  for await (const chunk of (await made).message.chunks()) if (chunk.length === 0) throw new Error("an empty chunk");
}

try {
  const [alice, bob] = [await makeSmimeReader("alice@example.com", now), await makePgpReader("bob@example.com", now)];
  const file = (name: string, content: Buffer | string) => {
    writeFileSync(join(folder, name), content);
    return join(folder, name);
  };
  const certificate = file("alice.pem", alice.certificatePem);
  const home = ["--homedir", folder, "--batch", "--quiet", "--no-tty", "--trust-model", "always"];
  execFileSync("gpg", [...home, "--import", file("bob.asc", bob.publicArmored)], { stdio: "ignore" });
  const smimeReader = smimeKey(
    parseCertificate(Buffer.from(alice.certificatePem.replace(/-----.*-----|\s/g, ""), "base64")),
  );
  const block = decodeArmor(bob.publicArmored).blocks[0];
  if (block === undefined) throw new Error("the key has no armor block");
  const pgpReader = pgpKey(await readPgpCertificate(block.bytes, now));
  const cbc = smimeCipher({ contentEncryption: "aes256-cbc", keyTransport: "rsa-pkcs1" });
  const gcm = smimeCipher({ contentEncryption: "aes256-gcm", keyTransport: "rsa-pkcs1" });

  console.log(`Node ${process.version}, ${cpus().length} cores; the programs' times include their start (a few ms)`);
  console.log("size        engine          ours ms   program ms   program ÷ ours");
  for (const size of SIZES) {
    const content = Buffer.alloc(size, "Text of a notification. ");
    const input = file("content", content);
    const split: Split = { outerFields: Buffer.from("Subject: x\r\n"), inner: sizedBytes(content) };
    const openssl = (cipher: string) => () =>
      void execFileSync("openssl", [
        "cms",
        "-encrypt",
        "-stream",
        "-binary",
        cipher,
        "-in",
        input,
        "-out",
        join(folder, "out"),
        "-outform",
        "SMIME",
        certificate,
      ]);
    const gpg = () =>
      void execFileSync("gpg", [
        ...home,
        "--yes",
        "--encrypt",
        "--armor",
        "-z0",
        "-r",
        "bob@example.com",
        "-o",
        join(folder, "out"),
        input,
      ]);
    const rows: [string, () => Promise<void>, () => void][] = [
      ["S/MIME CBC", () => drain(cbc.encrypt(split, [smimeReader])), openssl("-aes-256-cbc")],
      ["S/MIME GCM", () => drain(gcm.encrypt(split, [smimeReader])), openssl("-aes-256-gcm")],
      ["PGP armored", () => drain(pgpMimeCipher().encrypt(split, [pgpReader])), gpg],
    ];
    for (const [name, ours, program] of rows) {
      const [own, other] = [await medianMs(ours), await medianMs(program)];
      const cells = [
        `${size / 1024} KiB`.padEnd(12),
        name.padEnd(16),
        own.toFixed(2).padStart(7),
        other.toFixed(1).padStart(12),
        (other / own).toFixed(1).padStart(16),
      ];
      console.log(cells.join(""));
    }
  }
} finally {
  execFileSync("gpgconf", ["--homedir", folder, "--kill", "all"]);
  rmSync(folder, { recursive: true, force: true });
}
