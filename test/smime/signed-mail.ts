// Signed mails: S/MIME signatures made by openssl and BouncyCastle, and whole RFC 5322 messages in the shapes of mail programs.
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { fixture } from "../fixtures.ts";

/** What openssl complains of goes into the error, not on the terminal. */
const PIPED = { stdio: "pipe", maxBuffer: 1 << 26 } as const;

/** Paths of PEM files. */
export type Signer = { readonly certificate: string; readonly key: string };

/** `alice`, `bob` … of the fixtures. */
export function fixtureSigner(name: string): Signer {
  return { certificate: fixture(`smime/certs/${name}.pem`), key: fixture(`smime/keys/${name}.key`) };
}

export type SignatureOrder = {
  readonly by: Signer;
  /** Paths of PEM certificates that go along with the signer's. */
  readonly companions?: readonly string[];
  /** The content goes inside. */
  readonly isOpaque?: boolean;
  /** Further arguments of `openssl cms -sign`. */
  readonly options?: readonly string[];
};

/** A SignedData (DER, or BER with `-stream`) over exactly these octets, made by openssl. */
export function opensslSign(content: Uint8Array, order: SignatureOrder): Buffer {
  const { by, companions = [], isOpaque = false, options = [] } = order;
  return inScratchFolder((folder) => {
    const along = join(folder, "companions.pem");
    writeFileSync(along, companions.map((path) => readFileSync(path, "latin1")).join("\n"));
    const args = ["cms", "-sign", "-binary", "-outform", "DER", "-signer", by.certificate, "-inkey", by.key];
    if (companions.length > 0) args.push("-certfile", along);
    if (isOpaque) args.push("-nodetach");
    return execFileSync("openssl", [...args, ...options], { ...PIPED, input: content });
  });
}

/** The same SignedData with one more signature over its content. */
export function opensslResign(cms: Uint8Array, by: Signer): Buffer {
  const args = ["cms", "-resign", "-inform", "DER", "-outform", "DER", "-signer", by.certificate, "-inkey", by.key];
  return execFileSync("openssl", args, { ...PIPED, input: cms });
}

/** Whether openssl finds every signature good, trust aside; `detached` where the content is not inside. */
export function opensslVerifies(cms: Uint8Array, detached?: Uint8Array): boolean {
  return inScratchFolder((folder) => {
    const content = join(folder, "content");
    const args = ["cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-out", "/dev/null"];
    if (detached !== undefined) {
      writeFileSync(content, detached);
      args.push("-content", content);
    }
    const { status } = spawnSync("openssl", args, { input: cms, stdio: ["pipe", "ignore", "ignore"] });
    // 4: not verified; 2: not readable; anything else says nothing of the message
    if (status !== 0 && status !== 2 && status !== 4) throw new Error(`openssl exits with ${status}`);
    return status === 0;
  });
}

export type BouncyCastleOrder = {
  readonly by: Signer;
  readonly content: Uint8Array;
  readonly companions?: readonly string[];
  /** As the JCA names it, e.g. `SHA256withRSA`. */
  readonly algorithm: string;
  /** See BcSign.java. */
  readonly traits?: readonly string[];
};

const JARS = ["bcprov", "bcpkix", "bcmail", "bcutil"].map((name) => `/usr/share/java/${name}.jar`).join(":");

/** One SignedData for each order, made by BouncyCastle in one run. */
export function bouncyCastleSign(orders: readonly BouncyCastleOrder[]): Buffer[] {
  return inScratchFolder((folder) => {
    const source = fileURLToPath(new URL("BcSign.java", import.meta.url));
    execFileSync("javac", ["-encoding", "UTF-8", "-cp", JARS, "-d", folder, source]);
    const lines = orders.map(({ by, content, companions = [], algorithm, traits = [] }, index) => {
      const [input, output] = [join(folder, `${index}.content`), join(folder, `${index}.der`)];
      writeFileSync(input, content);
      return [input, by.key, by.certificate, companions.join(","), algorithm, traits.join(","), output].join("\t");
    });
    writeFileSync(join(folder, "orders"), lines.join("\n"));
    execFileSync("java", ["-cp", `${folder}:${JARS}`, "BcSign", join(folder, "orders")]);
    return orders.map((_, index) => readFileSync(join(folder, `${index}.der`)));
  });
}

/** Header fields that every mail here has; `fields` are further lines without their line end. */
export type MailHead = {
  readonly from: string;
  readonly to?: string;
  readonly subject?: string;
  readonly fields?: readonly string[];
};

/** How a mail program writes a signature into MIME. */
export type MimeShape = {
  /** Older programs, openssl among them, write `application/x-pkcs7-signature`. */
  readonly isOldName?: boolean;
  readonly columns?: 64 | 76;
  readonly micalg?: string;
  readonly boundary?: string;
};

export const THUNDERBIRD: MimeShape = { columns: 64, boundary: "------------ms010203040506070809000102" };
export const OUTLOOK: MimeShape = {
  isOldName: true,
  columns: 76,
  micalg: "SHA256",
  boundary: "----=_NextPart_000_0001_01DB3E5A.1C2D3E4F",
};

/** A text/plain entity, as it is signed. */
export function textEntity(text = "Hello,\r\nthis is signed.\r\n"): Buffer {
  return Buffer.from(`Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n${text}`);
}

/** A whole message: multipart/signed around `entity` and a detached signature of it (RFC 8551 3.5.3). */
export function clearSignedMail(head: MailHead, entity: Uint8Array, cms: Uint8Array, shape: MimeShape = {}): Buffer {
  const { isOldName = false, micalg = "sha-256", boundary = "=-signed-1" } = shape;
  const type = `application/${isOldName ? "x-" : ""}pkcs7-signature`;
  return Buffer.concat([
    lines(
      ...headLines(head),
      `Content-Type: multipart/signed; protocol="${type}";`,
      `\tmicalg=${micalg}; boundary="${boundary}"`,
      "",
      "This is a cryptographically signed message in MIME format.",
      "",
      `--${boundary}`,
    ),
    entity,
    lines(
      "",
      `--${boundary}`,
      `Content-Type: ${type}; name="smime.p7s"`,
      "Content-Transfer-Encoding: base64",
      'Content-Disposition: attachment; filename="smime.p7s"',
      "",
      ...base64Lines(cms, shape),
      `--${boundary}--`,
    ),
  ]);
}

/** A whole message that is a SignedData with its content inside (RFC 8551 3.5.2). */
export function opaqueSignedMail(head: MailHead, cms: Uint8Array, shape: MimeShape = {}): Buffer {
  const type = `application/${shape.isOldName === true ? "x-" : ""}pkcs7-mime`;
  return lines(
    ...headLines(head),
    `Content-Type: ${type}; smime-type=signed-data; name="smime.p7m"`,
    "Content-Transfer-Encoding: base64",
    'Content-Disposition: attachment; filename="smime.p7m"',
    "",
    ...base64Lines(cms, shape),
  );
}

/** A whole message signed by openssl, the usual case: `mail` of Alice is `signedMail({ from: "alice@…" }, alice)`. */
export function signedMail(
  head: MailHead,
  by: Signer,
  entity = textEntity(),
  companions: readonly string[] = [],
): Buffer {
  return clearSignedMail(head, entity, opensslSign(entity, { by, companions }));
}

/** A whole message, every octet of it written by `openssl cms -sign`. */
export function opensslMail({ from, to = "jira@example.com" }: MailHead, by: Signer, text: string): Buffer {
  const args = ["cms", "-sign", "-text", "-crlfeol", "-signer", by.certificate, "-inkey", by.key];
  return execFileSync("openssl", [...args, "-from", from, "-to", to, "-subject", "signed"], { input: text });
}

/** Whether openssl, reading the whole message, finds its signature good; and the content that it took. */
export function opensslReads(message: Uint8Array): { readonly isGood: boolean; readonly content: Buffer } {
  const args = ["cms", "-verify", "-noverify", "-inform", "SMIME"];
  const { status, stdout } = spawnSync("openssl", args, { input: message, stdio: ["pipe", "pipe", "ignore"] });
  return { isGood: status === 0, content: stdout };
}

function headLines({ from, to = "jira@example.com", subject = "signed", fields = [] }: MailHead): string[] {
  const date = "Date: Mon, 23 Nov 2026 10:00:00 +0100";
  return [`From: ${from}`, `To: ${to}`, `Subject: ${subject}`, date, ...fields, "MIME-Version: 1.0"];
}

function base64Lines(bytes: Uint8Array, { columns = 64 }: MimeShape): string[] {
  return (
    Buffer.from(bytes)
      .toString("base64")
      .match(new RegExp(`.{1,${columns}}`, "g")) ?? []
  );
}

function lines(...texts: readonly string[]): Buffer {
  return Buffer.from(texts.map((text) => `${text}\r\n`).join(""));
}

function inScratchFolder<T>(work: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-signed-"));
  try {
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
