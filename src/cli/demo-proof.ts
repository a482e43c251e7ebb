// Decryption for the demo: by openssl and gpg when the machine has them, else by pkijs and OpenPGP.js.
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import * as openpgp from "openpgp";
import * as pkijs from "pkijs";
import type { PgpReader, SmimeReader } from "./demo-keys.ts";

const exec = promisify(execFile);

export type Proof = { readonly by: string; readonly text: string };

/** Decrypts a whole S/MIME message as it left. */
export async function openSmime(message: Buffer, reader: SmimeReader, folder: string): Promise<Proof> {
  const mail = join(folder, "smime.eml");
  const key = join(folder, "smime.key");
  const certificate = join(folder, "smime.pem");
  await Promise.all([
    writeFile(mail, message),
    writeFile(key, reader.keyPem, { mode: 0o600 }),
    writeFile(certificate, reader.certificatePem),
  ]);
  const said = await tried("openssl", ["cms", "-decrypt", "-in", mail, "-inkey", key, "-recip", certificate]);
  if (said !== undefined) return { by: "openssl cms -decrypt", text: said };
  const body = message.subarray(message.indexOf("\r\n\r\n") + 4).toString("latin1");
  const content = pkijs.ContentInfo.fromBER(new Uint8Array(Buffer.from(body, "base64")));
  const enveloped = new pkijs.EnvelopedData({ schema: content.content });
  const pkcs8 = new Uint8Array(reader.key.export({ type: "pkcs8", format: "der" })).buffer;
  const clear = await enveloped.decrypt(0, { recipientCertificate: reader.certificate, recipientPrivateKey: pkcs8 });
  return { by: "pkijs", text: Buffer.from(clear).toString("utf8") };
}

/** Decrypts a whole PGP/MIME message as it left. */
export async function openPgp(message: Buffer, reader: PgpReader, folder: string): Promise<Proof> {
  const armored =
    /-----BEGIN PGP MESSAGE-----[^]*?-----END PGP MESSAGE-----/.exec(message.toString("latin1"))?.[0] ?? "";
  const home = join(folder, "gnupg");
  await mkdir(home, { mode: 0o700 });
  const [key, mail] = [join(folder, "pgp.key"), join(folder, "pgp.asc")];
  await Promise.all([writeFile(key, reader.privateArmored, { mode: 0o600 }), writeFile(mail, armored)]);
  const common = ["--homedir", home, "--batch", "--quiet", "--no-tty"];
  const isImported = (await tried("gpg", [...common, "--import", key])) !== undefined;
  const said = isImported ? await tried("gpg", [...common, "--decrypt", mail]) : undefined;
  if (isImported) await tried("gpgconf", ["--homedir", home, "--kill", "all"]);
  if (said !== undefined) return { by: "gpg --decrypt", text: said };
  const decryptionKeys = await openpgp.readPrivateKey({ armoredKey: reader.privateArmored });
  const decrypted = await openpgp.decrypt({
    message: await openpgp.readMessage({ armoredMessage: armored }),
    decryptionKeys,
  });
  return { by: "OpenPGP.js", text: String(decrypted.data) };
}

/** What a program prints, or undefined when it is not there or fails. */
async function tried(program: string, args: readonly string[]): Promise<string | undefined> {
  try {
    return (await exec(program, args, { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 })).stdout;
  } catch {
    return undefined;
  }
}
