// Run once before all tests: the real peers are there, or are installed from Debian's packages, or the run fails.
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, globSync } from "node:fs";

/** Each peer: how to see that it is there, and the Debian package that brings it. */
const PEERS: readonly { readonly name: string; readonly package: string; isThere(): boolean }[] = [
  { name: "openssl", package: "openssl", isThere: () => runs("openssl", ["version"]) },
  { name: "gpg", package: "gnupg", isThere: () => runs("gpg", ["--version"]) },
  { name: "gpg-agent", package: "gpg-agent", isThere: () => runs("gpg-agent", ["--version"]) },
  { name: "javac", package: "openjdk-17-jdk-headless", isThere: () => runs("javac", ["-version"]) },
  { name: "BouncyCastle", package: "libbcmail-java", isThere: () => existsSync("/usr/share/java/bcmail.jar") },
  { name: "JavaMail", package: "libmail-java", isThere: () => existsSync("/usr/share/java/javax.mail.jar") },
  { name: "slapd", package: "slapd", isThere: () => existsSync("/usr/sbin/slapd") },
  { name: "ldapmodify", package: "ldap-utils", isThere: () => existsSync("/usr/bin/ldapmodify") },
  { name: "SKS", package: "sks", isThere: () => existsSync("/usr/sbin/sks") },
  { name: "tinyproxy", package: "tinyproxy", isThere: () => existsSync("/usr/bin/tinyproxy") },
  { name: "squid", package: "squid", isThere: () => existsSync("/usr/sbin/squid") },
  { name: "dirmngr", package: "dirmngr", isThere: () => runs("dirmngr", ["--version"]) },
  { name: "gpg-wks-client", package: "gpg-wks-client", isThere: () => existsSync("/usr/lib/gnupg/gpg-wks-client") },
  { name: "Python", package: "python3", isThere: () => runs("python3", ["--version"]) },
  { name: "strace", package: "strace", isThere: () => runs("strace", ["-V"]) },
  { name: "mkfs.ext4", package: "e2fsprogs", isThere: () => existsSync("/usr/sbin/mkfs.ext4") },
  { name: "libfaketime", package: "libfaketime", isThere: () => libfaketime() !== undefined },
  { name: "Postfix", package: "postfix", isThere: () => existsSync("/usr/sbin/postfix") },
];

/** The library that sets the clock of one process, in the folder of this machine's architecture. */
export function libfaketime(): string | undefined {
  return globSync("/usr/lib/*/faketime/libfaketime.so.1")[0];
}

function runs(program: string, args: readonly string[]): boolean {
  return spawnSync(program, args, { stdio: "ignore" }).status === 0;
}

export default function setup(): void {
  const missing = PEERS.filter((peer) => !peer.isThere());
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((peer) => peer.package))];
  const command = `apt-get install -y --no-install-recommends ${packages.join(" ")}`;
  const names = missing.map((peer) => peer.name).join(", ");
  if (process.getuid?.() !== 0) throw new Error(`the tests need ${names}; install them first: sudo ${command}`);
  console.log(`installing what the tests need: ${packages.join(" ")}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  execFileSync("apt-get", ["update", "-q"], { stdio: ["ignore", "ignore", "inherit"], env });
  execFileSync("apt-get", command.split(" ").slice(1), { stdio: ["ignore", "ignore", "inherit"], env });
  const still = PEERS.filter((peer) => !peer.isThere());
  if (still.length > 0) throw new Error(`${still.map((peer) => peer.name).join(", ")} still missing after: ${command}`);
}
