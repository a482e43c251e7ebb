// Group: which recipients share one ciphertext (pure).
import type { PgpKey, RecipientKey, SmimeKey } from "../keys/recipient-key.ts";
import type { LeasedRecipient } from "../spool/spool.ts";
import type { SubjectMode } from "../encrypt/outer-header.ts";

/** One recipient with the key chosen for it. */
export type Member<K extends RecipientKey> = {
  readonly recipient: LeasedRecipient;
  readonly key: K;
  readonly isHidden: boolean;
  readonly subject: SubjectMode;
};

/** So many readers at most in one ciphertext and one transaction upstream. */
const MAX_READERS = 50;

/**
 * Visible recipients of the same kind share a ciphertext. Apart stay: hidden ones, for a RecipientInfo or PKESK names its
 * reader (RFC 5652 6.2.1); RSA from EC, for NSS cannot read a message with both; OpenPGP readers of SEIPDv2 from those
 * who only read SEIPDv1; different subject modes.
 */
export function groupMembers<K extends RecipientKey>(members: readonly Member<K>[]): Member<K>[][] {
  const alike = Map.groupBy(members, (member) => {
    const own = member.isHidden ? `hidden ${member.recipient.index}` : "visible";
    return `${format(member.key)} ${member.subject} ${own}`;
  });
  return [...alike.values()].flatMap((group) =>
    Array.from({ length: Math.ceil(group.length / MAX_READERS) }, (_, part) =>
      group.slice(part * MAX_READERS, (part + 1) * MAX_READERS),
    ),
  );
}

/** What the readers of one ciphertext must have in common. */
export function format(key: SmimeKey | PgpKey): string {
  if (key.kind === "smime") return key.certificate.publicKey.algorithm;
  return key.certificate.readsSeipd2 ? "seipd2" : "seipd1";
}
