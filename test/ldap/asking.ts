// What the tests of the LDAP transport share: a directory that misbehaves, our server over it, and one search in words.
import { EqualityFilter } from "ldapts";
import { afterEach, beforeAll } from "vitest";
import { LdapFault } from "../../src/ldap/ldap-fault.ts";
import { ldapServer, type LdapLimits, type LdapServer, type LdapSettings } from "../../src/ldap/ldap-server.ts";
import { makeAuthority, type ServerCertificate, type TestAuthority } from "../authority.ts";
import { manualClock } from "../manual-clock.ts";
import { fakeDirectory, type FakeAnswer, type FakeDirectory, type FakeRequest } from "./fake-directory.ts";

const never = new AbortController().signal;
export let authority: TestAuthority;
let certificate: ServerCertificate;
beforeAll(async () => {
  authority = await makeAuthority();
  certificate = await authority.issue(["DNS:localhost", "IP:127.0.0.1"]);
});
const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of opened.splice(0).reverse()) await one.close();
});

/** A directory whose certificate `authority` has made for localhost, unless `options` have another. */
export async function directory(
  script: (request: FakeRequest) => FakeAnswer,
  options: Parameters<typeof fakeDirectory>[1] = {},
) {
  const fake = await fakeDirectory(script, { certificate, ...options });
  opened.push(fake);
  return fake;
}
/** In clear and anonymous, but for what is given. */
export function serverOf(
  { port }: { port: number },
  own: Partial<LdapSettings> = {},
  limits: Partial<LdapLimits> = {},
): LdapServer {
  const settings = {
    host: "127.0.0.1",
    port,
    tls: "off",
    ca: authority.ca,
    user: null,
    password: null,
    ...own,
  } as const;
  const server = ldapServer(settings, manualClock(), { deadlineMs: 5_000, idleMs: 60_000, ...limits });
  opened.push(server);
  return server;
}
export const find = (server: LdapServer, address = "bob@example.com", signal = never) =>
  server.search(
    {
      ...{ base: "dc=example", scope: "sub", attributes: ["mail"] },
      filter: new EqualityFilter({ attribute: "mail", value: address }),
    },
    signal,
  );
/** The names that were found, or the fault as `kind setting: message`. */
export const said = async (work: ReturnType<typeof find>) => {
  try {
    return (await work).map(({ dn }) => dn).join();
  } catch (cause) {
    if (cause instanceof LdapFault) return `${cause.kind} ${cause.setting ?? ""}: ${cause.message}`;
    throw cause;
  }
};
/** A script that answers one kind of request so, and the others as usual. */
export const only =
  (operation: string, answer: FakeAnswer | ((request: FakeRequest) => FakeAnswer)) => (request: FakeRequest) =>
    request.operation !== operation ? undefined : typeof answer === "function" ? answer(request) : answer;
export const gone = (fake: FakeDirectory) => fake.until(() => fake.openSockets.size === 0);
