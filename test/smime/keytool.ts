// Real judges of key stores: keytool with BouncyCastle, and openssl, asked which certificates a file holds.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { fixture } from "../fixtures.ts";

const BOUNCY_CASTLE = [
  ["-J-Dorg.bouncycastle.bks.enable_v1=true"],
  ["-providerclass", "org.bouncycastle.jce.provider.BouncyCastleProvider"],
  ["-providerpath", "/usr/share/java/bcprov.jar"],
].flat();

export function keytool(storetype: string, ...args: readonly string[]): string {
  const isJava = storetype === "JKS" || storetype === "JCEKS";
  const all = [...args, "-storetype", storetype, "-storepass", "changeit", ...(isJava ? [] : BOUNCY_CASTLE)];
  return execFileSync("keytool", all, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"], maxBuffer: 1 << 26 });
}

/** Fingerprints of all certificates, chains included, sorted. */
export function keytoolFingerprints(storetype: string, path: string): string[] {
  return pemFingerprints(keytool(storetype, "-list", "-rfc", "-keystore", fixture(path)));
}

export function opensslFingerprints(path: string, form: "DER" | "PEM"): string[] {
  const args = ["pkcs7", "-inform", form, "-in", fixture(path), "-print_certs"];
  return pemFingerprints(execFileSync("openssl", args, { encoding: "utf8", maxBuffer: 1 << 26 }));
}

export function pemFingerprints(text: string): string[] {
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];
  const ders = blocks.map((block) => Buffer.from(block.replace(/-----[A-Z ]+-----/g, ""), "base64"));
  return ders.map((der) => createHash("sha256").update(der).digest("hex")).sort();
}
