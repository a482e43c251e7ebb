// Reading: configurations written into a throw-away folder and read by the real reader.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { faultLine } from "../../src/config/fault.ts";
import { readConfiguration, type Configuration } from "../../src/config/read.ts";

export const SMALLEST = "upstream: { host: smtp.example.com }\n";

/** A folder that is removed when the test ends. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "sealpost-config-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

/** Writes files into a folder; `sealpost.yaml` and those named pass* get mode 0600. */
export function written(files: Readonly<Record<string, string>>): string {
  const path = folder();
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text, { mode: 0o600 });
  return path;
}

/** The faults of one text, without the folder's name. */
export function faultsOf(yaml: string, env: Record<string, string> = {}, files: Record<string, string> = {}): string[] {
  const path = written({ ...files, "sealpost.yaml": yaml });
  const reading = readConfiguration({ path: join(path, "sealpost.yaml"), env });
  return "faults" in reading ? reading.faults.map((fault) => faultLine(fault).replaceAll(`${path}/`, "")) : [];
}

/** The configuration of a text that is right; throws with its faults when it is not. */
export function configurationOf(
  yaml: string,
  env: Record<string, string> = {},
  files: Record<string, string> = {},
): Configuration & { readonly folder: string } {
  const path = written({ ...files, "sealpost.yaml": yaml });
  const reading = readConfiguration({ path: join(path, "sealpost.yaml"), env });
  if ("faults" in reading) throw new Error(reading.faults.map(faultLine).join("\n"));
  return { ...reading, folder: path };
}
