// The engines side by side: bytes in, encrypted MIME out; ours against openssl and gpg, and against pkijs and openpgp.js.
import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Split } from "../src/encrypt/cipher.ts";
import { pgpMimeCipher } from "../src/encrypt/pgp-mime.ts";
import { smimeCipher } from "../src/encrypt/smime.ts";
import { sizedBytes } from "../src/mail/chunks.ts";
import type { Ciphertext } from "../src/mail/outgoing.ts";
import { gpg, outFile, pgpReaders, smimeReaders, type PgpReader, type SmimeReader } from "./engines/keys.ts";
import { openpgpWay, pkijsWay } from "./engines/libraries.ts";
import { warmMemory } from "./load/warm-memory.ts";
import { median, print, type Figure, type Report } from "./report.ts";

const RUNS = 5;
const KIB = 1024;
const SIZES = [4 * KIB, 32 * KIB, KIB * KIB, 25 * KIB * KIB];
/** So much is encrypted for each figure at least, so that a clock tick is nothing. */
const LEAST_MS = 50;
/** More than ours and the programs use; what the libraries took and gave back the machine's host may have. */
const WARM_MIB = 300;

type Cost = { readonly wallMs: number; readonly cpuMs: number };
type Act = () => unknown;

const cipherOf = { CBC: "aes256-cbc", GCM: "aes256-gcm" } as const;

async function costOfRun(act: Act, calls: number): Promise<Cost> {
  const since = performance.now();
  const before = process.cpuUsage();
  for (let call = 0; call < calls; call++) await act();
  const { user, system } = process.cpuUsage(before);
  return { wallMs: (performance.now() - since) / calls, cpuMs: (user + system) / 1_000 / calls };
}

/** Of one call each, the medians of the runs, in which all take turns; what warms up is not counted. */
async function costsOf<const Acts extends readonly Act[]>(
  { folder, content }: Input,
  ...acts: Acts
): Promise<{ [Each in keyof Acts]: Cost }> {
  const all = [];
  for (const act of acts) {
    const { wallMs } = await costOfRun(act, 1);
    const calls = Math.max(1, Math.ceil(LEAST_MS / wallMs));
    await costOfRun(act, calls);
    all.push({ act, calls, costs: [] as Cost[] });
  }
  for (let run = 0; run < RUNS; run++)
    for (const { act, calls, costs } of all) {
      if (content.length === SIZES.at(-1)) warmMemory(folder, WARM_MIB);
      costs.push(await costOfRun(act, calls));
    }
  return all.map(({ costs }) => ({
    wallMs: median(costs.map(({ wallMs }) => wallMs)),
    cpuMs: median(costs.map(({ cpuMs }) => cpuMs)),
  })) as { [Each in keyof Acts]: Cost };
}

async function drain(made: Promise<Ciphertext>): Promise<void> {
  for await (const chunk of (await made).message.chunks()) if (chunk.length === 0) throw new Error("an empty chunk");
}

const sizeName = (size: number) => (size < KIB * KIB ? `${size / KIB} KiB` : `${size / KIB / KIB} MiB`);

type Input = { readonly folder: string; readonly file: string; readonly content: Buffer; readonly split: Split };

async function smimeFigures(reader: SmimeReader, mode: "CBC" | "GCM", input: Input): Promise<Figure[]> {
  const cipher = smimeCipher({ contentEncryption: cipherOf[mode], keyTransport: "rsa-pkcs1" });
  const encrypt = () => drain(cipher.encrypt(input.split, [reader.key]));
  const cms = ["cms", "-encrypt", "-stream", "-binary", `-aes-256-${mode.toLowerCase()}`, "-outform", "SMIME"];
  const program = () =>
    void execFileSync("openssl", [...cms, "-in", input.file, "-out", outFile(input.folder), reader.file]);
  // the ordinary way of pkijs knows no AuthEnvelopedData
  const [ours, openssl, library] =
    mode === "GCM"
      ? await costsOf(input, encrypt, program)
      : await costsOf(input, encrypt, program, pkijsWay(reader, input.content));
  const what = `S/MIME ${mode}, ${reader.name}, ${sizeName(input.content.length)}`;
  const isLargest = input.content.length === SIZES.at(-1);
  const goal = isLargest ? { goal: { atLeast: mode === "CBC" ? 1 : 1.3 } } : {};
  const figures: Figure[] = [
    { what: `openssl's time ÷ ours, ${what}`, value: openssl.wallMs / ours.wallMs, ...goal, unit: "×" },
    { what, value: ours.wallMs, unit: "ms" },
  ];
  if (library === undefined) return figures;
  const libraryGoal = reader.isRsa && input.content.length === 32 * KIB ? { goal: { atLeast: 10 } } : {};
  return [
    { what: `pkijs' CPU ÷ ours, ${what}`, value: library.cpuMs / ours.cpuMs, ...libraryGoal, unit: "×" },
    ...figures,
  ];
}

async function pgpFigures(reader: PgpReader, input: Input): Promise<Figure[]> {
  const cipher = pgpMimeCipher();
  const args = ["--encrypt", "--armor", "-z0", "-r", reader.userId, "-o", outFile(input.folder), input.file];
  const [ours, program, library] = await costsOf(
    input,
    () => drain(cipher.encrypt(input.split, [reader.key])),
    () => void gpg(input.folder, args),
    openpgpWay(reader, input.content),
  );
  const what = `PGP armored, ${reader.name}, ${sizeName(input.content.length)}`;
  const goal = input.content.length === SIZES.at(-1) ? { goal: { atLeast: 2 } } : {};
  const libraryGoal = input.content.length === 32 * KIB ? { goal: { atLeast: 2 } } : {};
  return [
    { what: `gpg's time ÷ ours, ${what}`, value: program.wallMs / ours.wallMs, ...goal, unit: "×" },
    { what: `openpgp.js' CPU ÷ ours, ${what}`, value: library.cpuMs / ours.cpuMs, ...libraryGoal, unit: "×" },
    { what, value: ours.wallMs, unit: "ms" },
  ];
}

export async function engines(): Promise<Report> {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-bench-"));
  chmodSync(folder, 0o700);
  const figures: Figure[] = [];
  try {
    const readers = await pgpReaders(folder);
    for (const size of SIZES) {
      const content = Buffer.alloc(size, "Text of a notification, in lines as they come.\r\n");
      const file = join(folder, "content");
      writeFileSync(file, content);
      const split: Split = { outerFields: Buffer.from("Subject: x\r\n"), inner: sizedBytes(content) };
      const input = { folder, file, content, split };
      for (const reader of smimeReaders())
        for (const mode of ["CBC", "GCM"] as const) figures.push(...(await smimeFigures(reader, mode, input)));
      for (const reader of readers) figures.push(...(await pgpFigures(reader, input)));
    }
  } finally {
    execFileSync("gpgconf", ["--homedir", folder, "--kill", "all"]);
    rmSync(folder, { recursive: true, force: true });
  }
  return { title: "Engines; the programs' times hold their start, a few ms", figures };
}

if (import.meta.main) print(await engines());
