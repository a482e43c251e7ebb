// GET by way of real proxies, tinyproxy and squid: which requests go there, and that their own answers are no server's.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { httpGet } from "../../src/http/http-get.ts";
import { makeAuthority, type TestAuthority } from "../authority.ts";
import { startRaw, startSquid, startTinyproxy, startWeb, type RunningProxy, type WebServer } from "../key-server.ts";

const never = new AbortController().signal;
const LOGIN = { user: "relay", password: "s3cret" };
const closing: (() => Promise<void>)[] = [];
const opened = <T extends { close(): Promise<void> }>(one: T): T => (closing.push(() => one.close()), one);
/** The only port besides 443 that this tinyproxy connects to. */
const TUNNEL_PORT = 31443;

let tinyproxy: RunningProxy;
let guarded: RunningProxy;
let squid: RunningProxy;
let authority: TestAuthority;
let clear: WebServer;
let secure: WebServer;
beforeAll(async () => {
  tinyproxy = opened(await startTinyproxy());
  guarded = opened(await startTinyproxy(LOGIN));
  squid = opened(await startSquid());
  authority = await makeAuthority();
  clear = opened(await startWeb((_request, response) => response.end("clear")));
  const certificate = await authority.issue(["DNS:localhost", "IP:127.0.0.1"]);
  secure = opened(await startWeb((_request, response) => response.end("secure"), certificate, TUNNEL_PORT));
});
afterAll(async () => {
  for (const close of closing.toReversed()) await close();
});

/** The body, or the sentence of the refusal. */
async function said(options: Parameters<typeof httpGet>[0], url: string): Promise<string> {
  const get = httpGet({ ca: authority.ca, ...options });
  try {
    const { status, body } = await get(new URL(`${url}/?search=ann%40example.com`), never);
    return status === 200 ? body.toString() : String(status);
  } catch (error) {
    expect((error as Error).message).not.toMatch(/ann|search|cret/);
    return (error as Error).message;
  } finally {
    await get.close();
  }
}

const withLogin = (login: string, { port }: RunningProxy) => `http://${login}@127.0.0.1:${port}`;
// as a password with special characters has to be written
const encoded = `${LOGIN.user}:%733cret`;

describe("R17: through a proxy", () => {
  test("a server in clear and one behind CONNECT with a private authority are reached, by tinyproxy and by squid", async () => {
    for (const proxy of [tinyproxy, squid]) {
      expect(await said({ proxy: proxy.url }, clear.url)).toBe("clear");
      expect(await said({ proxy: proxy.url }, secure.url)).toBe("secure");
      expect(await said({ proxy: "env", env: { HTTP_PROXY: proxy.url } }, clear.url)).toBe("clear");
      expect(await said({ proxy: "env", env: { HTTPS_PROXY: proxy.url } }, secure.url)).toBe("secure");
    }
    const log = await squid.log();
    expect(log).toContain(`GET ${clear.url}/`);
    expect(log).toContain(`CONNECT 127.0.0.1:${TUNNEL_PORT}`);
  });

  test("behind CONNECT the server's certificate is verified", async () => {
    expect(await said({ proxy: squid.url, ca: undefined }, secure.url)).toMatch(
      /^the certificate of 127\.0\.0\.1 is not trusted/,
    );
    const other = opened(
      await startWeb((_request, response) => response.end(), await authority.issue(["DNS:other.example"])),
    );
    expect(await said({ proxy: squid.url }, other.url)).toMatch(/^the certificate of 127\.0\.0\.1 is not trusted/);
    expect(other.asked).toEqual([]);
  });

  test("user name and password of the environment's URL are given to the proxy, percent-decoded", async () => {
    const url = withLogin(encoded, guarded);
    expect(await said({ proxy: "env", env: { http_proxy: url } }, clear.url)).toBe("clear");
    expect(await said({ proxy: "env", env: { https_proxy: url } }, secure.url)).toBe("secure");
    expect(await said({ proxy: "env", env: { HTTPS_PROXY: `${encoded}@127.0.0.1:${guarded.port}` } }, secure.url)).toBe(
      "secure",
    );
  });

  test("a proxy that wants a password and gets none or a wrong one is named, and nothing is taken for an answer", async () => {
    const wants = `the proxy 127.0.0.1:${guarded.port} wants another user name and password`;
    expect(await said({ proxy: guarded.url }, clear.url)).toBe(
      `${wants} (407); see HTTP_PROXY and HTTPS_PROXY in the environment`,
    );
    expect(await said({ proxy: guarded.url }, secure.url)).toMatch(`${wants} (407)`);
    // tinyproxy says 401 to a wrong one; other proxies say 407
    const wrong = { proxy: "env", env: { HTTP_PROXY: withLogin("relay:wrong", guarded) } };
    expect(await said(wrong, secure.url)).toMatch(`${wants} (401)`);
    expect(await said(wrong, clear.url)).toBe("401");
    const strict = opened(await startWeb((_request, response) => response.writeHead(407).end("no")));
    expect(await said({ proxy: `http://a:b@127.0.0.1:${strict.port}` }, clear.url)).toMatch(
      `the proxy 127.0.0.1:${strict.port} wants another user name and password (407)`,
    );
  });

  test("a dead server is the proxy's 500 or 503 in clear, and a refusal that names the proxy behind CONNECT", async () => {
    const dead = await startRaw(() => undefined);
    await dead.close();
    expect(await said({ proxy: tinyproxy.url }, dead.url)).toBe("500");
    expect(await said({ proxy: squid.url }, dead.url)).toBe("503");
    expect(await said({ proxy: squid.url }, `https://127.0.0.1:${dead.port}`)).toBe(
      `the proxy 127.0.0.1:${squid.port} refused to connect to 127.0.0.1:${dead.port} (503)`,
    );
  });

  test("a CONNECT that the proxy does not allow names proxy and status", async () => {
    expect(await said({ proxy: tinyproxy.url }, `https://127.0.0.1:${clear.port}`)).toBe(
      `the proxy 127.0.0.1:${tinyproxy.port} refused to connect to 127.0.0.1:${clear.port} (403)`,
    );
  });

  test("a proxy that is down, cuts or cannot be found is named", async () => {
    const dead = await startRaw(() => undefined);
    await dead.close();
    const cutting = opened(await startRaw((socket) => socket.once("data", () => socket.end())));
    for (const url of [clear.url, secure.url]) {
      expect(await said({ proxy: dead.url }, url)).toBe(`connection refused by the proxy 127.0.0.1:${dead.port}`);
      expect(await said({ proxy: "http://no-such-proxy.invalid:3128" }, url)).toMatch(
        /^(?:no such host no-such-proxy\.invalid, the proxy's|the name no-such-proxy\.invalid cannot be resolved now .*)$/,
      );
      expect(await said({ proxy: cutting.url }, url)).toMatch(/^connection cut by /);
    }
  });

  test("a proxy that hangs is given up, and close() leaves no connection to it", async () => {
    const hanging = opened(await startRaw(() => undefined));
    for (const url of [clear.url, secure.url])
      expect(await said({ proxy: hanging.url, deadlineMs: 300 }, url)).toMatch(/^time-out after 300 ms/);
    await hanging.idle();
  });
});

describe("LOOK-18: the environment", () => {
  const counted = async (options: Parameters<typeof httpGet>[0], url = clear.url) => {
    const before = proxy.asked.length;
    await said(options, url);
    return proxy.asked.length > before ? "by proxy" : "direct";
  };
  let proxy: WebServer;
  beforeAll(async () => {
    proxy = opened(await startWeb((_request, response) => response.end("the proxy")));
  });

  test("is ignored with proxy none and with a proxy's URL, the process's own as well", async () => {
    const own = { ...process.env };
    try {
      Object.assign(process.env, {
        http_proxy: proxy.url,
        HTTP_PROXY: proxy.url,
        HTTPS_PROXY: proxy.url,
        NO_PROXY: "*",
      });
      expect(await counted({ proxy: "none" })).toBe("direct");
      expect(await counted({ proxy: "env", env: {} })).toBe("direct");
      expect(await counted({ proxy: proxy.url })).toBe("by proxy");
      expect(await counted({ proxy: "env", env: { HTTP_PROXY: proxy.url } })).toBe("by proxy");
      delete process.env["NO_PROXY"];
      expect(await counted({ proxy: "env" })).toBe("by proxy");
    } finally {
      for (const name of ["http_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"]) {
        if (own[name] === undefined) Reflect.deleteProperty(process.env, name);
        else process.env[name] = own[name];
      }
    }
  });

  test.each([
    ["127.0.0.1", "127.0.0.1", "direct"],
    ["127.0.0.1:PORT", "127.0.0.1", "direct"],
    ["127.0.0.1:1", "127.0.0.1", "by proxy"],
    ["127.0.0.0/8", "127.0.0.1", "by proxy"],
    ["*", "127.0.0.1", "direct"],
    ["keys.corp.test", "keys.corp.test", "direct"],
    ["KEYS.Corp.Test", "keys.corp.test", "direct"],
    [".corp.test", "keys.corp.test", "direct"],
    ["*.corp.test", "keys.corp.test", "direct"],
    ["corp.test", "keys.corp.test", "direct"],
    ["other.test, corp.test", "keys.corp.test", "direct"],
    ["*.corp.test", "corp.test", "by proxy"],
    ["orp.test", "keys.corp.test", "by proxy"],
    ["keys.corp.test.evil", "keys.corp.test", "by proxy"],
    ["", "127.0.0.1", "by proxy"],
  ])("NO_PROXY %j: %s is asked %s", async (noProxy, host, way) => {
    const env = { HTTP_PROXY: proxy.url, NO_PROXY: noProxy.replace("PORT", String(clear.port)) };
    const lookup: NonNullable<Parameters<typeof httpGet>[0]["lookup"]> = (_host, _options, done) =>
      done(null, [{ address: "127.0.0.1", family: 4 }]);
    expect(await counted({ proxy: "env", env, lookup }, `http://${host}:${clear.port}`)).toBe(way);
  });

  test("a proxy's URL that is none is refused by its setting's name, without showing it", () => {
    for (const url of ["socks5://relay:s3cret@127.0.0.1", "http://relay:s3cret@", "ftp://relay:s3cret@proxy.example"]) {
      expect(() => httpGet({ proxy: "env", env: { https_proxy: url } })).toThrow(
        /^HTTPS_PROXY must be the URL of an HTTP proxy such as http:\/\/proxy\.example\.com:3128$/,
      );
      expect(() => httpGet({ proxy: url })).toThrow(/^the proxy setting must be the URL of an HTTP proxy/);
    }
  });
});
