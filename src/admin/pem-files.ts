// Certificate files: what an administrator wants to know of the certificates in them.
import { readFileSync } from "node:fs";
import { X509Certificate } from "node:crypto";
import type { Certificate } from "../smime/certificate.ts";

const BLOCK = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[\s\S]*?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g;

/** A certificate as far as it is judged here; the times are ms. */
type Dated = Pick<Certificate, "subject" | "notBefore" | "notAfter">;

/** The certificates that TLS takes from a PEM file. Throws when it cannot be read. */
export function pemCertificates(file: string): readonly Dated[] {
  const certificates = (readFileSync(file, "latin1").match(BLOCK) ?? []).map((block) => new X509Certificate(block));
  if (certificates.length === 0) throw new Error(`${file} holds no certificate in PEM form`);
  return certificates.map(({ subject, validFromDate, validToDate }) => ({
    subject: subject.split("\n").at(-1) ?? "",
    notBefore: +validFromDate,
    notAfter: +validToDate,
  }));
}

/** Judges all certificates of a file at `now` (ms): ok when none is expired or not yet valid. */
export function judgeCertificates(file: string, certificates: readonly Dated[], now: number) {
  const outdated = certificates.filter(({ notBefore, notAfter }) => now > notAfter || now < notBefore);
  const soonest = Math.min(...certificates.map(({ notAfter }) => notAfter));
  const count = certificates.length === 1 ? "1 certificate" : `${certificates.length} certificates`;
  const [first] = outdated;
  if (first === undefined) return { ok: true, detail: `${file}: ${count}, valid until ${day(soonest)}` };
  return {
    ok: false,
    detail:
      `${file}: ${outdated.length} of ${count} cannot be used now; ` +
      `${first.subject} is valid from ${day(first.notBefore)} until ${day(first.notAfter)}`,
  };
}

function day(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}
