// Personal keys as sources: what a user uploaded, what was learned from incoming mail.
import { absent, failed, found } from "../keys/lookup.ts";
import type { PersonalKeys } from "../keys/personal-keys.ts";
import type { KeyKind, KeyOrigin, RecipientKey } from "../keys/recipient-key.ts";
import type { KeySource } from "../keys/source.ts";

/** `upload` or `incoming` as a source of one kind. */
export function personalSource<K extends RecipientKey>(
  keys: PersonalKeys,
  kind: KeyKind & K["kind"],
  origin: KeyOrigin,
): KeySource<K> {
  return {
    name: origin,
    async find(mailbox) {
      try {
        const own = await keys.find(mailbox, kind, origin);
        return own.length === 0 ? absent : found(own.map((one) => one.key as K));
      } catch (cause) {
        return failed(cause);
      }
    },
    async probe() {
      try {
        const count = (await keys.list()).filter((one) => one.key.kind === kind && one.origin === origin).length;
        return { ok: true, detail: `${count} keys` };
      } catch (cause) {
        return { ok: false, detail: cause instanceof Error ? cause.message : String(cause) };
      }
    },
  };
}
