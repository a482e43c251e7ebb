// MessageCipher: turns one message into ciphertext for a group of readers.
import type { PgpReader, Reader, SmimeReader } from "../keys/recipient-key.ts";
import type { Ciphertext } from "../mail/outgoing.ts";
import type { Sized } from "../mail/chunks.ts";

/** What goes into the ciphertext and what is seen outside. */
export type Split = {
  /** Header fields that stay readable: whole lines with CRLF, without any Content-* or MIME-Version field, no blank line. */
  readonly outerFields: Uint8Array;
  /** The MIME entity that is encrypted: its Content-* fields, a blank line, the body as it came in. */
  readonly inner: Sized;
};

export type Ciphers = { readonly smime: MessageCipher<SmimeReader>; readonly pgp: MessageCipher<PgpReader> };

export type MessageCipher<R extends Reader> = {
  readonly kind: R["kind"];
  /** Throws when a key cannot be encrypted to; what is returned has not been read yet and is produced while it is sent. */
  encrypt(split: Split, readers: readonly [R, ...R[]]): Promise<Ciphertext>;
};
