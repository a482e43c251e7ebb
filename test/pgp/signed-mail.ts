// Makes whole RFC 3156 mails signed by gpg, with the keys inside the signed part, beside it or not at all.
import type { GnupgHome } from "./gnupg.ts";

export type SigningOptions = {
  /** What gpg calls the key: an address, a key ID, a fingerprint; a subkey with `!` behind it. */
  readonly signer: string;
  /** Milliseconds since 1970: the time that gpg is told it is. */
  readonly signedAt: number;
  readonly digest?: string;
  /** Signature type 0x01 instead of 0x00. */
  readonly isTextMode?: boolean;
  readonly isBinary?: boolean;
};

export type SignedMailOptions = SigningOptions & {
  /** The value of the From field. */
  readonly from: string;
  readonly to?: string;
  readonly subject?: string;
  readonly text?: string;
  /** Further fields of the mail, each `Name: value`. */
  readonly fields?: readonly string[];
  /** Each becomes one part of type application/pgp-keys; what does not begin with armor goes in base64. */
  readonly keys?: readonly Uint8Array[];
  /** "inside" the signed part (the default), or "beside" it: then multipart/signed is not the root. */
  readonly keysStand?: "inside" | "beside";
};

const CRLF = "\r\n";

/** The whole mail, CRLF line ends. */
export function pgpSignedMail(home: GnupgHome, options: SignedMailOptions): Buffer {
  const keys = (options.keys ?? []).map(keyPart);
  const isBeside = options.keysStand === "beside" && keys.length > 0;
  const text = textPart(options.text ?? "Hello.");
  const signed = isBeside || keys.length === 0 ? text : multipart("mixed", "inner", [text, ...keys]);
  const root = multipart(
    `signed; micalg=pgp-${(options.digest ?? "SHA256").toLowerCase()}; protocol="application/pgp-signature"`,
    "signed",
    [signed, signaturePart(detachedSignature(home, signed, options))],
  );
  const fields = [
    `From: ${options.from}`,
    `To: ${options.to ?? "jira@example.com"}`,
    `Subject: ${options.subject ?? "signed"}`,
    `Date: ${new Date(options.signedAt).toUTCString().replace("GMT", "+0000")}`,
    `Message-ID: <${options.signedAt}.${root.length}@example.com>`,
    "MIME-Version: 1.0",
    ...(options.fields ?? []),
  ];
  const head = fields.map((field) => field + CRLF).join("");
  return Buffer.concat([Buffer.from(head), isBeside ? multipart("mixed", "outer", [root, ...keys]) : root]);
}

/** gpg's detached signature over exactly these octets: armored, unless `isBinary`. */
export function detachedSignature(home: GnupgHome, signed: Uint8Array, options: SigningOptions): Buffer {
  const { signer, signedAt, digest = "SHA256", isTextMode = false, isBinary = false } = options;
  const { status, stdout, stderr } = home.run(
    [
      ...atTime(signedAt),
      ...(isTextMode ? ["--textmode"] : []),
      ...(isBinary ? [] : ["--armor"]),
      ...["--digest-algo", digest, "--local-user", signer, "--detach-sign"],
    ],
    signed,
  );
  if (status !== 0) throw new Error(`gpg does not sign: ${stderr}`);
  return stdout;
}

/** Public keys as gpg exports them: binary, or one armored block. */
export function exportedKeys(home: GnupgHome, names: readonly string[], form: "binary" | "armored"): Buffer {
  const { status, stdout, stderr } = home.run([...(form === "armored" ? ["--armor"] : []), "--export", ...names]);
  if (status !== 0 || stdout.length === 0) throw new Error(`gpg does not export ${names.join(", ")}: ${stderr}`);
  return stdout;
}

/** Makes a key without passphrase at `madeAt` (milliseconds since 1970): gpg's arguments of --quick-generate-key. */
export function generateKeyIn(home: GnupgHome, userId: string, madeAt: number, ...parameters: string[]): void {
  const { status, stderr } = home.run([
    ...atTime(madeAt),
    ...["--passphrase", "", "--quick-generate-key", userId, ...parameters],
  ]);
  if (status !== 0) throw new Error(`gpg does not make the key ${userId}: ${stderr}`);
}

/** Arguments that make gpg take `ms` for the present, standing still. */
export function atTime(ms: number): string[] {
  return ["--faked-system-time", `${Math.floor(ms / 1000)}!`];
}

/** A text/plain entity in CRLF, such as a signature may be made over. */
export function textPart(text: string): Buffer {
  return entity("text/plain; charset=utf-8", "8bit", text.replace(/\r?\n/g, CRLF) + CRLF);
}

function keyPart(key: Uint8Array): Buffer {
  const bytes = Buffer.from(key);
  if (bytes.toString("latin1", 0, 5) === "-----")
    return entity("application/pgp-keys", "7bit", bytes.toString("latin1").replace(/\r?\n/g, CRLF));
  const lines = bytes.toString("base64").match(/.{1,76}/g) ?? [];
  return entity("application/pgp-keys", "base64", lines.map((line) => line + CRLF).join(""));
}

function signaturePart(signature: Buffer): Buffer {
  if ((signature[0] ?? 0) >= 0x80) return entity("application/pgp-signature", "base64", signature.toString("base64"));
  return entity(
    "application/pgp-signature; name=signature.asc",
    "7bit",
    signature.toString("latin1").replace(/\r?\n/g, CRLF),
  );
}

function entity(type: string, encoding: string, body: string): Buffer {
  return Buffer.from(`Content-Type: ${type}${CRLF}Content-Transfer-Encoding: ${encoding}${CRLF}${CRLF}${body}`);
}

/** `boundary` is told apart by its name; the CRLF before a delimiter belongs to the delimiter (RFC 2046 5.1.1). */
function multipart(subtype: string, boundary: string, parts: readonly Buffer[]): Buffer {
  const mark = `=_${boundary}_part`;
  const delimited = parts.flatMap((part) => [Buffer.from(`${CRLF}--${mark}${CRLF}`), part]);
  return Buffer.concat([
    Buffer.from(`Content-Type: multipart/${subtype}; boundary="${mark}"${CRLF}`),
    ...delimited,
    Buffer.from(`${CRLF}--${mark}--${CRLF}`),
  ]);
}
