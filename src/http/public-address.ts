// Public addresses: which names and addresses a server that a stranger's domain points to may have.
import { lookup as resolve, promises, type LookupAddress } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";
import { asError } from "../as-error.ts";
import { HttpFault } from "./http-fault.ts";

/** All addresses of a name, or an error with a code as of node:dns. */
export type AddressLookup = LookupFunction;

/** IANA's IPv4 special-purpose addresses that are not globally reachable, multicast (RFC 5771), reserved (RFC 1112) and AS112. */
const SPECIAL_IPV4 = [
  ...["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"],
  ...["192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24"],
  ...["198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"],
];
/** Global unicast (RFC 4291 2.4, IANA): all else, so ::1, ::, v4-mapped, v4-compatible, fc00::/7, fe80::/10, ff00::/8, is not. */
const GLOBAL_IPV6 = ["2000::/3"];
/** Within it: protocol assignments with Teredo, ORCHID and benchmarking, documentation twice, 6to4, AS112. */
const SPECIAL_IPV6 = ["2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"];
/** RFC 6052 2.1: how an IPv6-only network sees an IPv4 address, which stands in the last 32 bits. */
const NAT64 = ["64:ff9b::/96"];

const specialIpv4 = listOf(SPECIAL_IPV4, "ipv4");
const globalIpv6 = listOf(GLOBAL_IPV6, "ipv6");
const specialIpv6 = listOf(SPECIAL_IPV6, "ipv6");
const nat64 = listOf(NAT64, "ipv6");

/**
 * Whether an IP address, in any spelling that node:net takes for one, is of the public Internet. Anything else is not. A NAT64
 * prefix of a network's own (RFC 6052 2.2) cannot be told from other addresses.
 */
export function isPublicAddress(address: string): boolean {
  // with a zone (fe80::1%eth0) an address is of one link
  if (address.includes("%")) return false;
  switch (isIP(address)) {
    case 4:
      return !specialIpv4.check(address, "ipv4");
    case 6:
      if (nat64.check(address, "ipv6")) return isPublicAddress(embeddedIpv4(address));
      return globalIpv6.check(address, "ipv6") && !specialIpv6.check(address, "ipv6");
    default:
      return false;
  }
}

/** Whether this can be a name in the public DNS: two labels at least, and the last one no number, as an IP address might have. */
export function isPublicHostName(host: string): boolean {
  const labels = host.toLowerCase().split(".");
  return (
    host.length <= 253 &&
    labels.length >= 2 &&
    labels.every((label) => /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(label)) &&
    !/^(?:\d+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? "")
  );
}

/**
 * A look-up that fails unless every address of the name is public. The connection is then made to one of these addresses and no
 * other, so that a second answer of the DNS changes nothing.
 */
export function publicAddresses(lookup: AddressLookup): AddressLookup {
  return (hostname, options, done) => {
    // without the dot the resolver would also try the name below the domains of its search list (resolv.conf(5))
    lookup(`${hostname}.`, { ...options, all: true }, (error, found) => {
      if (error !== null) {
        done(Object.assign(error, { hostname }), []);
        return;
      }
      const addresses = typeof found === "string" ? [{ address: found, family: isIP(found) }] : found;
      const inside = addresses.find(({ address }) => !isPublicAddress(address));
      const [first] = addresses;
      if (inside !== undefined || first === undefined) {
        const why = inside === undefined ? "no address" : `the address ${inside.address}, which is not public`;
        done(new HttpFault(`${hostname} has ${why}; it is not connected to`), []);
      } else if (options.all === true) done(null, [...addresses]);
      else done(null, first.address, first.family);
    });
  };
}

/** What the DNS is asked with; as of node:dns/promises. */
export type DnsResolver = Pick<promises.Resolver, "resolve4" | "resolve6">;

/** For each of its tries; together they stay below what a request may take. */
const DNS_TIMES = { timeout: 1_000, tries: 2 };

/**
 * Believes ENOTFOUND of `lookup` only when the DNS itself has neither IPv4 nor IPv6 addresses of the name: the C library says it
 * too when one of its two questions failed and the other had an empty answer. Anything else becomes EAI_AGAIN.
 */
export function confirmedLookup(lookup: AddressLookup, resolverOf: () => DnsResolver): AddressLookup {
  return (hostname, options, done) => {
    lookup(hostname, options, (error, addresses, family) => {
      if (error?.code !== "ENOTFOUND") {
        done(error, addresses, family);
        return;
      }
      void isWithoutAddress(resolverOf(), hostname).then((isConfirmed) =>
        done(isConfirmed ? error : unresolved(hostname, error), []),
      );
    });
  };
}

async function isWithoutAddress(resolver: DnsResolver, hostname: string): Promise<boolean> {
  const isEmpty = async (question: Promise<readonly unknown[]>) => {
    try {
      return (await question).length === 0;
    } catch (cause) {
      const { code }: NodeJS.ErrnoException = asError(cause);
      return code === "ENOTFOUND" || code === "ENODATA";
    }
  };
  const answers = await Promise.all([isEmpty(resolver.resolve4(hostname)), isEmpty(resolver.resolve6(hostname))]);
  return answers.every(Boolean);
}

function unresolved(hostname: string, cause: Error): NodeJS.ErrnoException {
  const error = new Error(`getaddrinfo EAI_AGAIN ${hostname}`, { cause });
  return Object.assign(error, { code: "EAI_AGAIN", syscall: "getaddrinfo", hostname });
}

/** The system's resolver, hosts file included. */
export const systemLookup: AddressLookup = confirmedLookup(
  (hostname, options, done) => {
    resolve(hostname, { ...options, all: true }, (error, addresses: LookupAddress[] | undefined) => {
      const [first] = addresses ?? [];
      if (error !== null || first === undefined) done(error, []);
      else if (options.all === true) done(null, addresses ?? []);
      else done(null, first.address, first.family);
    });
  },
  () => new promises.Resolver(DNS_TIMES),
);

function listOf(networks: readonly string[], family: "ipv4" | "ipv6"): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", bits] = network.split("/");
    list.addSubnet(address, Number(bits), family);
  }
  return list;
}

/** Of an IPv6 address of any spelling, the last 32 bits in dotted form. */
function embeddedIpv4(address: string): string {
  // a URL parser writes every spelling in one way (RFC 5952), in hexadecimal only
  const canonical = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [high = "0", low = "0"] = canonical.replace("::", ":0:").split(":").slice(-2);
  const bits = (parseInt(high === "" ? "0" : high, 16) << 16) | parseInt(low === "" ? "0" : low, 16);
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join(".");
}
