// Which addresses and names may be connected to for a stranger's domain, in every spelling.
import { describe, expect, test } from "vitest";
import { httpGet } from "../../src/http/http-get.ts";
import {
  isPublicAddress,
  isPublicHostName,
  publicAddresses,
  systemLookup,
  type AddressLookup,
} from "../../src/http/public-address.ts";
import { startRaw } from "../key-server.ts";

const never = new AbortController().signal;

describe("LOOK-14: addresses", () => {
  test.each([
    ...[
      "8.8.8.8",
      "1.1.1.1",
      "172.15.255.255",
      "172.32.0.0",
      "100.63.255.255",
      "100.128.0.0",
      "192.0.1.0",
      "223.255.255.255",
    ],
    ...["11.0.0.1", "9.255.255.255", "126.255.255.255", "128.0.0.1", "169.253.255.255", "198.17.255.255", "198.20.0.0"],
    ...["2606:4700:4700::1111", "2A00:1450:4001:0830:0000:0000:0000:200E", "2001:200::1", "2400::1", "3ffe::1"],
    ...["64:ff9b::8.8.8.8", "64:ff9b::808:808", "0064:ff9b:0:0:0:0:0808:0808"],
  ])("%s is public", (address) => expect(isPublicAddress(address)).toBe(true));

  test.each([
    ...[
      "127.0.0.1",
      "127.255.255.254",
      "0.0.0.0",
      "0.1.2.3",
      "10.0.0.1",
      "10.255.255.255",
      "100.64.0.1",
      "100.127.255.255",
    ],
    ...[
      "169.254.169.254",
      "172.16.0.1",
      "172.31.255.255",
      "192.168.0.1",
      "192.0.0.8",
      "192.0.2.1",
      "198.18.0.1",
      "198.19.255.255",
    ],
    ...["198.51.100.1", "203.0.113.1", "192.88.99.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"],
    ...[
      "::",
      "::1",
      "0:0:0:0:0:0:0:1",
      "0000:0000:0000:0000:0000:0000:0000:0001",
      "fe80::1",
      "fe80::1%eth0",
      "2606:4700::1%eth0",
    ],
    ...["fec0::1", "fc00::1", "fd12:3456:789a::1", "FD00:EC2::254", "ff02::1", "2001:db8::1", "3fff::1", "100::1"],
    ...["::ffff:127.0.0.1", "::ffff:7f00:1", "::FFFF:10.0.0.1", "0:0:0:0:0:ffff:169.254.169.254", "::ffff:8.8.8.8"],
    ...["::127.0.0.1", "::7f00:1", "::10.0.0.1", "::ffff:0:127.0.0.1"],
    ...[
      "2002:7f00:1::",
      "2002:0a00:0001::1",
      "2002:808:808::1",
      "2001:0:7f00:1::",
      "2001::1",
      "2001:10::1",
      "2001:2::1",
    ],
    ...[
      "64:ff9b::10.0.0.1",
      "64:ff9b::7f00:1",
      "64:ff9b::1",
      "64:ff9b::",
      "64:ff9b::a9fe:a9fe",
      "64:ff9b:1::8.8.8.8",
      "5f00::1",
    ],
    ...[
      "",
      "localhost",
      "127.1",
      "2130706433",
      "0x7f000001",
      "0177.0.0.1",
      "127.0.0.1.",
      " 127.0.0.1",
      "[::1]",
      "8.8.8.8:80",
    ],
  ])("%j is not public", (address) => expect(isPublicAddress(address)).toBe(false));
});

describe("LOOK-13: host names", () => {
  test.each(["example.com", "a.b.c.example", "xn--bcher-kva.example", "EXAMPLE.com", "1.2.3.example", "0x7f.com"])(
    "%j may be one of the public DNS",
    (host) => expect(isPublicHostName(host)).toBe(true),
  );

  test.each([
    ...["localhost", "", ".", "example", "example.com.", ".example.com", "a..b", "127.0.0.1", "127.1", "2130706433"],
    ...[
      "0x7f000001",
      "0x7f.1",
      "0177.0.0.1",
      "10.0x1",
      "1.2.3.0x",
      "[::1]",
      "::1",
      "[::ffff:127.0.0.1]",
      "a_b.example",
    ],
    ...[
      "evil.test:22",
      "a@evil.test",
      "evil.test#@good.example",
      "evil.test/x.example",
      "bücher.example",
      "-a.example",
      "a b.example",
    ],
    ...[`${"a".repeat(64)}.example`, `${"a.".repeat(130)}example`],
  ])("%j may not", (host) => expect(isPublicHostName(host)).toBe(false));
});

const listed = (addresses: readonly string[]) =>
  addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));

/** What a look-up says: addresses, or the message of its error. */
const said = (lookup: AddressLookup, host: string, all = true) =>
  new Promise<unknown>((resolve) =>
    lookup(host, { all }, (error, found, family) => resolve(error?.message ?? (all ? found : [found, family]))),
  );

describe("LOOK-14: a look-up for public addresses", () => {
  test("asks once and gives what it has checked, so that a second answer of the DNS changes nothing", async () => {
    const answers = [["8.8.8.8", "2606:4700::1"], ["127.0.0.1"]];
    const lookup = publicAddresses((_host, _options, done) => done(null, listed(answers.shift()!)));
    expect(await said(lookup, "a.example")).toEqual(listed(["8.8.8.8", "2606:4700::1"]));
    expect(answers).toHaveLength(1);
    expect(await said(lookup, "a.example")).toMatch(/^a\.example has the address 127\.0\.0\.1, which is not public/);
  });

  test("gives one address when only one is wanted, after it has checked all", async () => {
    const lookup = publicAddresses((_host, _options, done) => done(null, listed(["8.8.8.8", "9.9.9.9"])));
    expect(await said(lookup, "a.example", false)).toEqual(["8.8.8.8", 4]);
    const inside = publicAddresses((_host, _options, done) => done(null, listed(["8.8.8.8", "10.0.0.1"])));
    expect(await said(inside, "a.example", false)).toMatch(/10\.0\.0\.1, which is not public/);
  });

  test("refuses what the system's own resolver says of localhost, and passes its errors on", async () => {
    const loopback: AddressLookup = (_host, options, done) => systemLookup("localhost", options, done);
    expect(await said(publicAddresses(loopback), "a.example")).toMatch(
      /^a\.example has the address (127|::1).*not public/,
    );
    expect(await said(publicAddresses(systemLookup), "no-such-host.invalid")).toMatch(/^getaddrinfo E/);
  });

  test("asks for the name as a whole one, which no search list is put behind, and names it without the dot", async () => {
    const asked: string[] = [];
    const lookup = publicAddresses((host, _options, done) => {
      asked.push(host);
      done(Object.assign(new Error("none"), { code: "ENOTFOUND", hostname: host }), []);
    });
    const hostname = await new Promise((resolve) =>
      lookup("openpgpkey.nosuch.test", { all: true }, (error) => resolve(error && Reflect.get(error, "hostname"))),
    );
    expect([asked, hostname]).toEqual([["openpgpkey.nosuch.test."], "openpgpkey.nosuch.test"]);
  });

  test("a name without any address is refused", async () => {
    expect(
      await said(
        publicAddresses((_host, _options, done) => done(null, [])),
        "a.example",
      ),
    ).toMatch(/has no address/);
  });
});

describe("LOOK-13, LOOK-14: a GET for public hosts only", () => {
  test.each([
    [["127.0.0.1"], "127.0.0.1"],
    [["8.8.8.8", "127.0.0.1"], "127.0.0.1"],
    [["::ffff:127.0.0.1"], "::ffff:127.0.0.1"],
    [["2606:4700::1", "fd00::1"], "fd00::1"],
    [["169.254.169.254"], "169.254.169.254"],
  ])("does not connect to a name with the addresses %j", async (addresses, named) => {
    const server = await startRaw((socket) => socket.end());
    const get = httpGet({
      proxy: "none",
      publicOnly: true,
      lookup: (_host, _options, done) => done(null, listed(addresses)),
    });
    try {
      await expect(get(new URL(`https://keys.example.com:${server.port}/?l=secret`), never)).rejects.toThrow(
        `keys.example.com has the address ${named}, which is not public; it is not connected to`,
      );
      expect(server.connections.accepted).toBe(0);
    } finally {
      await get.close();
      await server.close();
    }
  });

  test.each(["127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::ffff:7f00:1]", "localhost"])(
    "does not connect to %s, and asks no resolver",
    async (host) => {
      const server = await startRaw((socket) => socket.end());
      let asked = 0;
      const get = httpGet({
        proxy: "none",
        publicOnly: true,
        lookup: (_host, _options, done) => {
          asked++;
          done(null, listed(["127.0.0.1"]));
        },
      });
      try {
        const url = new URL(`https://${host}:${server.port}/`);
        await expect(get(url, never)).rejects.toThrow(`${url.hostname} is not the name of a host in the public DNS`);
        expect([asked, server.connections.accepted]).toEqual([0, 0]);
      } finally {
        await get.close();
        await server.close();
      }
    },
  );

  test("is not made over a proxy, which would resolve names itself", () => {
    expect(() => httpGet({ proxy: "http://127.0.0.1:3128", publicOnly: true })).toThrow(/proxy none/);
    expect(() => httpGet({ proxy: "env", env: {}, publicOnly: true })).toThrow(/proxy none/);
  });
});
