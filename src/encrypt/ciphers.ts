// Ciphers: both kinds, as the configuration wants them.
import type { Ciphers } from "./cipher.ts";
import { pgpMimeCipher } from "./pgp-mime.ts";
import { smimeCipher, type SmimeOptions } from "./smime.ts";

export function createCiphers(options: SmimeOptions): Ciphers {
  return { smime: smimeCipher(options), pgp: pgpMimeCipher() };
}
