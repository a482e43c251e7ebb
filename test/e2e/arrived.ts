// What arrived upstream, read from outside: header fields, the kind of protection, and the clear text by openssl or gpg.
import { expect } from "vitest";
import { gnupgHome } from "../pgp/gnupg.ts";
import { opensslDecrypt } from "../smime/decrypters.ts";
import type { RecordedTransaction, Upstream } from "../upstream.ts";

/** The value of the first field of this name, unfolded; "" when there is none. */
export function field(message: Buffer, name: string): string {
  const text = message.toString("latin1");
  const head = text.slice(0, text.indexOf("\r\n\r\n") + 2).replace(/\r\n[ \t]+/g, " ");
  return new RegExp(`^${name}: (.*)\r$`, "im").exec(head)?.[1] ?? "";
}

export type Protection = "smime" | "pgp" | "clear" | "notice";

export function protection({ data }: RecordedTransaction): Protection {
  const type = field(data, "Content-Type");
  if (type.startsWith("application/pkcs7-mime")) return "smime";
  if (type.startsWith("multipart/encrypted")) return "pgp";
  return field(data, "Auto-Submitted") === "auto-replied" ? "notice" : "clear";
}

/** What openssl reads as the owner of the fixture NAME. */
export async function readSmime(message: Buffer, name: string): Promise<string> {
  const body = message.toString("latin1").slice(message.indexOf("\r\n\r\n"));
  return (await opensslDecrypt(Buffer.from(body, "base64"), name)).toString("latin1");
}

/** What gpg reads with the secret keys of the fixtures. */
export function readPgp(message: Buffer): string {
  const armor = /-----BEGIN PGP MESSAGE-----[^]*-----END PGP MESSAGE-----/.exec(message.toString("latin1"))?.[0] ?? "";
  const home = gnupgHome(true);
  try {
    const { status, stdout, stderr } = home.run(["--decrypt"], Buffer.from(armor));
    if (status !== 0) throw new Error(`gpg exits with ${status}: ${stderr}`);
    return stdout.toString("latin1");
  } finally {
    home.close();
  }
}

/** Waits until exactly these have arrived, each as `address protection`, in any order. */
export async function expectArrived(upstream: Upstream, expected: readonly string[]): Promise<void> {
  const arrived = () =>
    upstream.transactions.flatMap((one) => one.rcptTo.map((to) => `${to} ${protection(one)}`)).sort();
  await upstream.until(() => arrived().length >= expected.length, 20_000).catch(() => undefined);
  expect(arrived()).toEqual([...expected].sort());
}
