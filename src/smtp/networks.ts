// Which peers may speak to a listener: networks in CIDR notation, IPv4 addresses mapped into IPv6 included.
import { BlockList, isIP } from "node:net";

/** Whether an IP address lies in one of the networks (`10.0.0.0/8`, `::1/128`, or a bare address). Throws on a malformed network. */
export function networkMatcher(networks: readonly string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", prefix, ...more] = network.split("/");
    const version = isIP(address);
    const bits = prefix === undefined ? (version === 4 ? 32 : 128) : Number(prefix);
    const isValid = version !== 0 && more.length === 0 && /^\d{1,3}$/.test(prefix ?? "0") && bits <= maxBits(version);
    if (!isValid) throw new Error(`${JSON.stringify(network)} is not a network; see allowNetworks`);
    list.addSubnet(address, bits, version === 4 ? "ipv4" : "ipv6");
  }
  return (address) => list.check(plainAddress(address), isIP(plainAddress(address)) === 6 ? "ipv6" : "ipv4");
}

/** `::ffff:192.0.2.1` is 192.0.2.1 (RFC 4291 2.5.5.2); a zone (`fe80::1%eth0`) is left out. */
export function plainAddress(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address);
  return mapped?.[1] ?? address.replace(/%.*$/, "");
}

export function isLoopback(address: string): boolean {
  return LOOPBACK(address);
}

function maxBits(version: number): number {
  return version === 4 ? 32 : 128;
}

const LOOPBACK = networkMatcher(["127.0.0.0/8", "::1/128"]);
