// PEM files: what an administrator wants to know of the certificates in them.
import { readFileSync } from "node:fs";
import { X509Certificate } from "node:crypto";

const BLOCK = /-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----[\s\S]*?-----END (?:TRUSTED |X509 )?CERTIFICATE-----/g;

/** Judges every certificate in a file at `now` (ms): ok when none is expired or not yet valid. Throws when it cannot be read. */
export function judgePemFile(file: string, now: number): { readonly ok: boolean; readonly detail: string } {
  const certificates = (readFileSync(file, "latin1").match(BLOCK) ?? []).map((block) => new X509Certificate(block));
  if (certificates.length === 0) return { ok: false, detail: `${file} holds no certificate in PEM form` };
  const outdated = certificates.filter(({ validFromDate, validToDate }) => now > +validToDate || now < +validFromDate);
  const soonest = Math.min(...certificates.map(({ validToDate }) => +validToDate));
  const count = certificates.length === 1 ? "1 certificate" : `${certificates.length} certificates`;
  const [first] = outdated;
  if (first === undefined)
    return { ok: true, detail: `${file}: ${count}, valid until ${new Date(soonest).toISOString().slice(0, 10)}` };
  const name = first.subject.split("\n").at(-1) ?? "";
  return {
    ok: false,
    detail:
      `${file}: ${outdated.length} of ${count} cannot be used now; ` +
      `${name} is valid from ${day(first.validFromDate)} until ${day(first.validToDate)}`,
  };
}

function day(date: Date): string {
  return date.toISOString().slice(0, 10);
}
