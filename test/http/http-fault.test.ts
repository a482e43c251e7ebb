// Why a server is not reached: who refuses, what the DNS says, whose certificate is not believed.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { NoSuchHost } from "../../src/http/http-fault.ts";
import { httpGet } from "../../src/http/http-get.ts";
import { makeAuthority, type TestAuthority } from "../authority.ts";
import { startRaw, startWeb } from "../key-server.ts";
import { refusal, SECRET } from "./refusal.ts";

const never = new AbortController().signal;
const closing: (() => Promise<void>)[] = [];
const opened = <T extends { close(): Promise<void> }>(one: T): T => (closing.push(() => one.close()), one);
let authority: TestAuthority;
beforeAll(async () => {
  authority = await makeAuthority();
});
afterAll(async () => {
  for (const close of closing.toReversed()) await close();
});

const get = opened(httpGet({ proxy: "none" }));
const at = (server: { url: string }) => new URL(`${server.url}/?search=${SECRET}`);

describe("a server that cannot be reached", () => {
  test("nobody listens: the host and port that refuse are named", async () => {
    const server = await startRaw(() => undefined);
    await server.close();
    expect(await refusal(get(at(server), never))).toBe(`connection refused by 127.0.0.1:${server.port}`);
    expect(await refusal(get(new URL(`http://localhost:${server.port}/`), never))).toBe(
      `connection refused by localhost:${server.port}`,
    );
  });

  test.each(["ENOTFOUND", "ENODATA"])(
    "%s of the DNS is an error of its own kind, told from all others",
    async (code) => {
      const own = opened(httpGet({ proxy: "none", lookup: dnsError(code) }));
      const fault = await own(new URL("https://keys.example.com/"), never).catch((error: unknown) => error);
      expect(fault).toBeInstanceOf(NoSuchHost);
      expect((fault as NoSuchHost).message).toBe("no such host keys.example.com");
    },
  );

  test.each(["EAI_AGAIN", "ESERVFAIL"])("%s of the DNS does not mean that there is no such host", async (code) => {
    const own = opened(httpGet({ proxy: "none", lookup: dnsError(code) }));
    const fault = await own(new URL("https://keys.example.com/"), never).catch((error: unknown) => error);
    expect(fault).not.toBeInstanceOf(NoSuchHost);
    expect((fault as Error).message).toBe(`the name keys.example.com cannot be resolved now (${code})`);
  });

  const dnsError =
    (code: string): NonNullable<Parameters<typeof httpGet>[0]["lookup"]> =>
    (hostname, _options, done) =>
      done(Object.assign(new Error(code), { code, syscall: "getaddrinfo", hostname }), []);
});

describe("TLS", () => {
  const serving = async (names: readonly string[], days?: number) =>
    opened(await startWeb((_request, response) => response.end("ok"), await authority.issue(names, days)));

  test("a certificate of the authority that is set is believed, of a host name and of an address", async () => {
    const server = await serving(["DNS:localhost", "IP:127.0.0.1"]);
    const own = opened(httpGet({ proxy: "none", ca: authority.ca }));
    expect((await own(at(server), never)).status).toBe(200);
    expect((await own(new URL(`https://localhost:${server.port}/`), never)).status).toBe(200);
  });

  test.each([
    ["an authority unknown to the system", ["IP:127.0.0.1"], undefined, false, /unable to verify|self-signed/],
    ["another host", ["DNS:other.example"], undefined, true, /does not match certificate's altnames/],
    ["yesterday", ["IP:127.0.0.1"], -1, true, /certificate has expired/],
  ])("a certificate of %s is not", async (_what, names, days, isKnown, why) => {
    const server = await serving(names, days);
    const own = opened(httpGet({ proxy: "none", ca: isKnown ? authority.ca : undefined }));
    const said = await refusal(own(at(server), never));
    expect(said).toMatch(
      /^the certificate of 127\.0\.0\.1 is not trusted \(.*\); see the ca setting or the system's CAs$/,
    );
    expect(said).toMatch(why);
    expect(server.asked).toEqual([]);
  });

  test("a server below TLS 1.2 is refused, and so is one without TLS", async () => {
    const certificate = { ...(await authority.issue(["IP:127.0.0.1"])), maxVersion: "TLSv1.1", minVersion: "TLSv1" };
    const old = opened(await startWeb((_request, response) => response.end(), certificate));
    const clear = opened(await startWeb((_request, response) => response.end()));
    const own = opened(httpGet({ proxy: "none", ca: authority.ca }));
    expect(await refusal(own(at(old), never))).toMatch(/^no TLS with 127\.0\.0\.1:\d+ \(/);
    expect(await refusal(own(new URL(`https://127.0.0.1:${clear.port}/`), never))).toMatch(
      /^no TLS with 127\.0\.0\.1:\d+/,
    );
  });
});
