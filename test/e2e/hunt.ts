// Hunt: looks for a text in octets in every form in which it could have been left lying about.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Where a canary was found: in which place and in which form; empty is what a test wants to see. */
export type Finding = string;

/**
 * The forms: as it is, reversed, UTF-16 in both orders, hex, quoted-printable, percent-encoded, and base64 of each at all three
 * alignments. Letters count in either case, except in base64; soft line breaks and folding are taken out before looking.
 */
export function hunt(places: Readonly<Record<string, Buffer>>, canaries: readonly string[]): Finding[] {
  return Object.entries(places).flatMap(([place, octets]) => {
    const raw = octets.toString("latin1");
    // what a line break may have torn apart: base64 lines, quoted-printable, folded fields, JSON's \n
    const texts = [raw, raw.replace(/=?\r?\n[ \t]?/g, ""), raw.replace(/\\[rn]/g, "").replace(/\s+/g, "")];
    const folded = texts.map((text) => text.toLowerCase());
    return canaries.flatMap((canary) =>
      formsOf(canary)
        .filter(({ needle, isCaseSensitive }) =>
          (isCaseSensitive ? texts : folded).some((text) =>
            text.includes(isCaseSensitive ? needle : needle.toLowerCase()),
          ),
        )
        .map(({ form }) => `${canary} in ${place} as ${form}`),
    );
  });
}

type Form = { readonly form: string; readonly needle: string; readonly isCaseSensitive: boolean };

function formsOf(canary: string): Form[] {
  const bytes = Buffer.from(canary);
  const utf16 = Buffer.from(canary, "utf16le");
  const octets: Record<string, Buffer> = {
    "plain text": bytes,
    "reversed text": Buffer.from(bytes).reverse(),
    "UTF-16LE": utf16,
    "UTF-16BE": Buffer.from(utf16).swap16(),
  };
  const encoded: Form[] = Object.entries(octets).flatMap(([form, plain]) => [
    { form, needle: plain.toString("latin1"), isCaseSensitive: false },
    { form: `hex of ${form}`, needle: plain.toString("hex"), isCaseSensitive: false },
    ...[0, 1, 2].map((offset) => ({
      form: `base64 of ${form} at offset ${offset}`,
      needle: alignedBase64(plain, offset),
      isCaseSensitive: true,
    })),
  ]);
  const escaped = (mark: string) => [...bytes].map((octet) => mark + octet.toString(16).padStart(2, "0")).join("");
  return [
    ...encoded,
    { form: "quoted-printable", needle: escaped("="), isCaseSensitive: false },
    { form: "percent-encoding", needle: escaped("%"), isCaseSensitive: false },
  ];
}

/** The letters of base64 that depend on nothing but `plain` when it begins at this offset of a group of three. */
export function alignedBase64(plain: Buffer, offset: number): string {
  const letters = Buffer.concat([Buffer.alloc(offset), plain])
    .toString("base64")
    .replace(/=+$/, "");
  const sure = Math.floor(((offset + plain.length) * 8) / 6);
  return letters.slice(Math.ceil((offset * 8) / 6), sure);
}

/** Every file of a folder, by path. */
export function filesIn(folder: string): Record<string, Buffer> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    entries.map((entry) => {
      const path = join(entry.parentPath, entry.name);
      return [path, readFileSync(path)];
    }),
  );
}
