// Evidence: the one place that says why the From of an incoming signed message may be believed.
//
// The rules:
// 1. A signature says who made it, not who sent the mail: the author must be a mailbox of the signer, whatever else holds.
// 2. authentication-results: the border MTA says so (authentication-results.ts has the rules). It says nothing of an Autocrypt
//    field that was put in later: each DKIM signature must cover that field.
// 3. dmarc: we ask the author's domain ourselves (dmarc.ts has the rules). Its DKIM signature must cover the field by which
//    the mail teaches: with another Content-Type in front a genuine mail has other parts, and maybe a forger's signature.
//    A certification path needs none of that: no forger has one.
// 4. signature-only, S/MIME: a certification path to an anchor of ours vouches for the mailbox; without one, nothing does.
// 5. signature-only, OpenPGP: there is no authority. Anyone can make a key with any User ID, so the first who does is
//    believed, because the operator chose these words and no other reason; `by` says so.
// 6. All else, faults of the check included, is not believed.
import type { Mailbox } from "../mail/address.ts";
import type { Sized } from "../mail/chunks.ts";
import { fieldsNamed, fieldValue, type HeaderSection } from "../mail/header.ts";
import { authenticatedAuthor } from "./authentication-results.ts";
import type { Belief } from "./author.ts";
import { checkDmarc, type DnsResolve } from "./dmarc.ts";

/** What inbound.evidence says, with what that check needs. */
export type EvidenceRule =
  | { readonly kind: "authentication-results"; readonly authservId: string }
  | { readonly kind: "dmarc"; readonly resolve: DnsResolve }
  | { readonly kind: "signature-only" };

/** Who made a signature that verifies: the mailboxes of a certificate, or of the valid User IDs of a key. */
export type Signer =
  | { readonly kind: "smime"; readonly mailboxes: readonly Mailbox[]; readonly hasCertificationPath: boolean }
  | { readonly kind: "pgp"; readonly mailboxes: readonly Mailbox[] };

/** A signed message as it reached us; `author` is what `authorOf` read from `header`. */
export type SignedMail = {
  readonly header: HeaderSection;
  readonly message: Sized;
  readonly author: Mailbox;
  readonly signer: Signer;
  /** What makes it teach: that it is signed at its root, or a field that brings a key. */
  readonly teachesBy: "content-type" | "autocrypt";
};

/** Judges one message at `now` (ms) by the rules above. Never rejects. */
export async function evidenceFor(
  rule: EvidenceRule,
  mail: SignedMail,
  now: number,
  signal: AbortSignal,
): Promise<Belief> {
  const { header, message, author, signer, teachesBy } = mail;
  if (!signer.mailboxes.some(({ key }) => key === author.key))
    return { believed: false, reason: "the author is not a mailbox of the signer" };
  switch (rule.kind) {
    case "authentication-results":
      if (teachesBy === "autocrypt" && !isCoveredByAll(header, teachesBy))
        return { believed: false, reason: "not every DKIM-Signature covers the Autocrypt field" };
      return authenticatedAuthor(header, rule.authservId, author);
    case "dmarc": {
      const signedField = signer.kind === "smime" && signer.hasCertificationPath ? undefined : teachesBy;
      return checkDmarc({ message, author, now, resolve: rule.resolve, signedField, signal });
    }
    case "signature-only":
      return bySignature(signer);
  }
}

/** Whether there is a DKIM-Signature, and each names the field in its one h= (RFC 6376 3.5). */
function isCoveredByAll(header: HeaderSection, name: string): boolean {
  const signatures = fieldsNamed(header, "dkim-signature").map((field) =>
    fieldValue(field)
      .split(";")
      .flatMap((tag) => /^\s*h\s*=(.*)$/s.exec(tag)?.[1] ?? []),
  );
  const covers = (list: string) => list.split(":").some((one) => one.trim().toLowerCase() === name);
  return signatures.length > 0 && signatures.every(([list, ...more]) => more.length === 0 && covers(list ?? ""));
}

function bySignature(signer: Signer): Belief {
  switch (signer.kind) {
    case "smime":
      return signer.hasCertificationPath
        ? { believed: true, by: "the signer's certification path" }
        : { believed: false, reason: "the signer's certificate has no certification path to an anchor of ours" };
    case "pgp":
      return { believed: true, by: "signature only, as inbound.evidence says" };
  }
}
