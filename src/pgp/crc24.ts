// The CRC-24 of OpenPGP's armor (RFC 9580 6.1.1), eight octets a step.

const INITIAL = 0xb704ce;
const POLYNOMIAL = 0x864cfb;

const T0 = new Int32Array(256).map((_, octet) => {
  let crc = octet << 16;
  for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc & 0x800000 ? POLYNOMIAL : 0);
  return crc & 0xffffff;
});
// T<n>: what an octet adds to the checksum when n more octets follow it ("slicing by eight")
const T1 = oneOctetLater(T0);
const T2 = oneOctetLater(T1);
const T3 = oneOctetLater(T2);
const T4 = oneOctetLater(T3);
const T5 = oneOctetLater(T4);
const T6 = oneOctetLater(T5);
const T7 = oneOctetLater(T6);

function oneOctetLater(table: Int32Array): Int32Array {
  return table.map((crc) => ((crc << 8) ^ (T0[crc >>> 16] ?? 0)) & 0xffffff);
}

/** The checksum of `bytes`, going on from `crc`, which is the result for what came before. */
export function crc24(bytes: Uint8Array, crc: number = INITIAL): number {
  const length = bytes.length;
  let at = 0;
  // every index is in range: the assertions keep the loop free of tests
  /* eslint-disable @typescript-eslint/no-non-null-assertion */
  for (const last = length - 7; at < last; at += 8) {
    crc =
      T7[(crc >>> 16) ^ bytes[at]!]! ^
      T6[((crc >>> 8) & 0xff) ^ bytes[at + 1]!]! ^
      T5[(crc & 0xff) ^ bytes[at + 2]!]! ^
      T4[bytes[at + 3]!]! ^
      T3[bytes[at + 4]!]! ^
      T2[bytes[at + 5]!]! ^
      T1[bytes[at + 6]!]! ^
      T0[bytes[at + 7]!]!;
  }
  for (; at < length; at++) crc = ((crc << 8) ^ T0[(crc >>> 16) ^ bytes[at]!]!) & 0xffffff;
  /* eslint-enable @typescript-eslint/no-non-null-assertion */
  return crc;
}
