// DepartureMessage: a departure as it goes to another thread: copies of all octets, and of a key only what encrypting to it needs.
import { LRUCache } from "lru-cache";
import type { PgpReader, Reader, SmimeReader } from "../keys/recipient-key.ts";
import { collect, sizedBytes } from "../mail/chunks.ts";
import type { Departure, Manner } from "../outbound/departure.ts";
import { parseCertificate } from "../smime/certificate.ts";
import { openedFile, type SealedFile } from "../spool/sealed-file.ts";

export type DepartureMessage = {
  /** Where it is a file, that; else it is short, and in clear, for it was opened to be decided on: a copy, which may be handed over. */
  readonly content: { readonly clear: Uint8Array<ArrayBuffer> } | { readonly sealedFile: SealedFile };
  readonly manner: MannerMessage;
  readonly envelope: Departure["envelope"];
};

type Encrypted = Extract<Manner, { readers: unknown }>;
type MannerMessage =
  Exclude<Manner, Encrypted> | (Omit<Encrypted, "readers"> & { readonly readers: readonly ReaderMessage[] });
type ReaderMessage =
  | (Omit<SmimeReader, "certificate"> & { readonly der: Uint8Array })
  | (Omit<PgpReader, "certificate"> & PgpReader["certificate"]);

const KEPT_READERS = 1000;

/** Rejects when the stored message cannot be read. */
export async function departureMessage({ content, manner, envelope }: Departure): Promise<DepartureMessage> {
  const { sealedFile } = content;
  return {
    content: sealedFile === undefined ? { clear: new Uint8Array(await collect(content)) } : { sealedFile },
    manner: "readers" in manner ? { ...manner, readers: manner.readers.map(readerMessage) } : manner,
    envelope,
  };
}

/** Reads messages; what it has made of a reader's key is kept, for it costs as much as encrypting to it. */
export function departureReader(): (message: DepartureMessage) => Departure {
  const known = new LRUCache<string, Reader>({ max: KEPT_READERS });
  const readerOf = (message: ReaderMessage): Reader => {
    const key = keyOf(message);
    let reader = known.get(key);
    if (reader === undefined) known.set(key, (reader = madeReader(message)));
    return reader;
  };
  return ({ content, manner, envelope }) => ({
    content: "clear" in content ? sizedBytes(content.clear) : openedFile(content.sealedFile),
    manner: "readers" in manner ? { ...manner, readers: manner.readers.map(readerOf) } : manner,
    envelope,
  });
}

function readerMessage(reader: Reader): ReaderMessage {
  const { fingerprint } = reader;
  if (reader.kind === "smime") {
    const { certificate, announced } = reader;
    return { kind: "smime", fingerprint, der: certificate.der, ...(announced === undefined ? {} : { announced }) };
  }
  const { encryption, readsSeipd2 } = reader.certificate;
  if (!encryption.usable) return { kind: "pgp", fingerprint, readsSeipd2, encryption };
  const key = { ...encryption.key, packet: ownOctets(encryption.key.packet) };
  return { kind: "pgp", fingerprint, readsSeipd2, encryption: { ...encryption, key } };
}

/** A view would take everything that it is a view of along. */
function ownOctets(octets: Uint8Array): Uint8Array {
  return octets.byteLength === octets.buffer.byteLength ? octets : new Uint8Array(octets);
}

/** Of all that is made use of. */
function keyOf(reader: ReaderMessage): string {
  if (reader.kind === "smime") return `${latin1(reader.der)} ${reader.announced?.join(" ") ?? "-"}`;
  const { encryption, readsSeipd2 } = reader;
  return encryption.usable
    ? `${latin1(encryption.key.packet)} ${readsSeipd2}`
    : `${reader.fingerprint} ${encryption.detail}`;
}

function madeReader(message: ReaderMessage): Reader {
  if (message.kind === "pgp") {
    const { kind, fingerprint, encryption, readsSeipd2 } = message;
    return { kind, fingerprint, certificate: { encryption, readsSeipd2 } };
  }
  const { der, ...rest } = message;
  return { ...rest, certificate: parseCertificate(der) };
}

const latin1 = (octets: Uint8Array) =>
  Buffer.from(octets.buffer, octets.byteOffset, octets.byteLength).toString("latin1");
