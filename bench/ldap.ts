// Look-ups of certificates in a real slapd over LDAPS with a bind, 16 in flight: how many a second, and no socket is left behind.
import { readdirSync, readlinkSync } from "node:fs";
import { cpus } from "node:os";
import { systemClock } from "../src/clock.ts";
import { ldapServer } from "../src/ldap/ldap-server.ts";
import { mailbox } from "../src/mail/address.ts";
import { userDirectory } from "../src/sources/user-directory.ts";
import { READER, startSlapd } from "../test/slapd.ts";

const IN_FLIGHT = 16;
const GOAL_PER_SECOND = 500;
const ROUNDS = [1_000, 10_000];

const PEOPLE = ["alice", "bob", "dave", "heidi.meyer", "quinn", "nocert"];
/** A third has one entry with certificates or none, the rest is nobody there, as most recipients outside are. */
const ADDRESSES = Array.from({ length: 1_000 }, (_, index) =>
  mailbox(index % 3 === 0 ? `${PEOPLE[(index / 3) % PEOPLE.length]!}@example.com` : `nobody${index}@example.com`),
);

function openSockets(): number {
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
    } catch {
      // the folder itself was open while it was read
      return false;
    }
  }).length;
}

const slapd = await startSlapd("openldap");
let missed = 0;
try {
  const before = openSockets();
  const server = ldapServer(
    slapd.settings({ port: slapd.tlsPort, tls: "implicit", ca: slapd.ca, ...READER }),
    systemClock,
  );
  const source = userDirectory({
    ...{ name: "bench", server, baseDn: "ou=people,dc=example,dc=com", userFilter: "(objectClass=inetOrgPerson)" },
    ...{ mailAttribute: "mail", onlyDomains: [], disclosed: () => undefined, settingName: "bench" },
  });
  console.log(`Node ${process.version}, ${cpus().length} cores, slapd on the same ones; ${IN_FLIGHT} in flight`);
  for (const count of ROUNDS) {
    const answers = { found: 0, absent: 0, failed: 0 };
    let next = 0;
    const worker = async () => {
      while (next < count) {
        const address = ADDRESSES[next++ % ADDRESSES.length]!;
        answers[(await source.find(address, AbortSignal.timeout(5_000))).kind] += 1;
      }
    };
    const since = performance.now();
    await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
    const perSecond = Math.round((count * 1_000) / (performance.now() - since));
    const isGood = perSecond >= GOAL_PER_SECOND && answers.failed === 0 && answers.found > 0;
    if (!isGood) missed += 1;
    const { found, absent, failed } = answers;
    console.log(
      `${count} look-ups: ${perSecond}/s (goal ${GOAL_PER_SECOND}), ${found} found, ${absent} absent, ${failed} failed${isGood ? "" : "  MISSED"}`,
    );
  }
  const during = openSockets();
  await server.close();
  const after = openSockets();
  if (during !== before + 1 || after !== before) missed += 1;
  console.log(`open sockets: ${before} before, ${during} in use (goal ${before + 1}), ${after} after (goal ${before})`);
} finally {
  await slapd.stop();
}
process.exitCode = missed > 0 ? 1 : 0;
