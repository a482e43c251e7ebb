// Settle: turns the names of files in the checked configuration into absolute paths and secrets, and looks at PEM files.
import { createSecureContext } from "node:tls";
import { resolve } from "node:path";
import type { Path } from "./fault.ts";
import { FilePath, isSecretFileKey, SecretFile } from "./files.ts";
import { Secret } from "../secret.ts";
import { readPlainFile, readSecretFile } from "./secret-file.ts";
import type { Parsed, Settings } from "./schema.ts";

const MAX_PEM_BYTES = 4 * 1024 * 1024;

export type FileFault = { readonly path: Path; readonly message: string };

/** The same tree with every file name absolute, seen from `folder`. */
export function withAbsolutePaths(parsed: Parsed, folder: string): Parsed {
  const walk = (value: unknown): unknown => {
    if (value instanceof FilePath) return new FilePath(value.kind, resolve(folder, value.path));
    if (value instanceof SecretFile) return new SecretFile(resolve(folder, value.path));
    if (Array.isArray(value)) return value.map(walk);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, below]) => [key, walk(below)]));
  };
  return walk(parsed) as Parsed;
}

/** The settings, with every secret read; faults name the setting whose file will not do. */
export function settle(parsed: Parsed): { settings: Settings; faults: readonly FileFault[] } {
  const faults: FileFault[] = [];
  const walk = (value: unknown, path: Path): unknown => {
    if (value instanceof FilePath) {
      const fault = value.kind === "pem" ? pemFault(value.path, path.at(-1) === "key") : undefined;
      if (fault !== undefined) faults.push({ path, message: fault });
      return value.path;
    }
    if (Array.isArray(value)) return value.map((entry, index) => walk(entry, [...path, index]));
    if (typeof value !== "object" || value === null) return value;
    const tree: Record<string, unknown> = {};
    const before = faults.length;
    for (const [key, below] of Object.entries(value)) {
      if (below instanceof SecretFile) {
        const secret = readSecretFile(below.path);
        if (secret instanceof Secret) tree[withoutFile(key)] = secret;
        else faults.push({ path: [...path, key], message: secret.fault });
        tree[key] = below.path;
      } else {
        tree[key] = walk(below, [...path, key]);
        if (below === null && isSecretFileKey(key)) tree[withoutFile(key)] = null;
      }
    }
    const fault = faults.length === before ? pairFault(tree) : undefined;
    if (fault !== undefined) faults.push({ path: [...path, "key"], message: fault });
    return tree;
  };
  return { settings: walk(parsed, []) as Settings, faults };
}

const withoutFile = (key: string) => key.slice(0, -"File".length);

function pemFault(path: string, isPrivate: boolean): string | undefined {
  const content = readPlainFile(path, MAX_PEM_BYTES);
  if ("fault" in content) return content.fault;
  const text = content.bytes.toString("latin1");
  if (isPrivate && /-----BEGIN (?:ENCRYPTED |[A-Z]+ )?PRIVATE KEY-----/.test(text)) return undefined;
  if (!isPrivate && /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----/.test(text)) return undefined;
  return `${path} holds no ${isPrivate ? "private key" : "certificate"} in PEM form`;
}

/** A certificate and a key that do not belong together would only be seen when the first client asks for TLS. */
function pairFault({ cert, key }: Record<string, unknown>): string | undefined {
  if (typeof cert !== "string" || typeof key !== "string") return undefined;
  const [certificate, privateKey] = [cert, key].map((path) => readPlainFile(path, MAX_PEM_BYTES));
  if (certificate === undefined || privateKey === undefined || "fault" in certificate || "fault" in privateKey)
    return undefined;
  try {
    createSecureContext({ cert: certificate.bytes, key: privateKey.bytes });
    return undefined;
  } catch (cause) {
    const detail = cause instanceof Error ? cause.message.replace(/^error:[0-9A-F]+:/, "") : String(cause);
    return `${key} cannot be used with the certificate in ${cert} (${detail.toLowerCase()})`;
  }
}
