// The LDAP transport against a directory that is down, hangs, lies, cuts, floods: a fault in time, and no socket is left.
import type { Socket } from "node:net";
import { describe, expect, test } from "vitest";
import type { LdapSettings } from "../../src/ldap/ldap-server.ts";
import { READER } from "../slapd.ts";
import { directory, find, gone, only, said, serverOf } from "./asking.ts";
import { ber, BOB, entry, fakeDirectory, message, reference, result } from "./fake-directory.ts";

describe("LOOK-06: a directory that never answers", () => {
  const QUICK = { deadlineMs: 200 };
  const hangs: [string, Partial<LdapSettings>, string, RegExp][] = [
    ["to StartTLS", { tls: "starttls" }, "starttls", /^time-out host: .* did not answer in time/],
    ["to the bind", READER, "bind", /^time-out host: .* did not answer/],
    ["to the search", READER, "search", /^time-out host: .* did not answer in time/],
  ];
  test.each(hangs)("%s is given up at the deadline and its socket closed", async (_, settings, operation, text) => {
    const fake = await directory(only(operation, "hang"));
    expect(await said(find(serverOf(fake, settings, QUICK)))).toMatch(text);
    await gone(fake);
    expect(fake.requests.filter((one) => one.operation === operation)).toHaveLength(1);
  });

  test("to the TLS handshake is given up at the deadline and its socket closed", async () => {
    const fake = await directory(() => "hang");
    expect(await said(find(serverOf(fake, { tls: "implicit" }, QUICK)))).toMatch(/^time-out host/);
    await gone(fake);
  });

  test("but drips entries is given up at the same deadline", async () => {
    const fake = await directory(
      only("search", ({ id, socket }) => {
        for (let index = 0; index < 20; index++) socket.write(entry(id, `uid=${index}`, BOB));
        return "hang";
      }),
    );
    expect(await said(find(serverOf(fake, {}, QUICK)))).toMatch(/^time-out host/);
    await gone(fake);
  });

  test("takes no longer when the caller gives up first, and the socket still goes at the deadline", async () => {
    const fake = await directory(only("search", "hang"));
    const caller = new AbortController();
    const asked = find(serverOf(fake, {}, { deadlineMs: 300 }), "bob@example.com", caller.signal);
    await fake.until(() => fake.requests.length === 1);
    caller.abort();
    expect(await said(asked)).toMatch(/^time-out host/);
    expect(fake.openSockets.size).toBe(1);
    await gone(fake);
  });
});

describe("LOOK-06: a directory that sends too much", () => {
  const megabyte = Buffer.alloc(1024 * 1024, "x");
  const flood = (socket: Socket, chunk: Buffer, times: number) => {
    let left = times;
    const more = () => {
      while (left-- > 0) if (!socket.write(chunk)) return void socket.once("drain", more);
    };
    more();
  };
  test("LOOK-06: entries of millions of empty values are cut off before they are kept", async () => {
    const none = Array.from({ length: 19_000 }, () => ber(0x04));
    const many = (id: number) =>
      message(id, 0x64, ber(0x04, "uid=x"), ber(0x30, ber(0x30, ber(0x04, "mail"), ber(0x31, ...none))));
    const fake = await directory(
      only("search", ({ id }) => Buffer.concat([...Array.from({ length: 10 }, () => many(id)), result(id, 0x65)])),
    );
    expect(await said(find(serverOf(fake)))).toMatch(/^too-much filter: .* or in more than 50000 elements$/);
    await gone(fake);
  });
  test("one attribute of 100 MB is cut off before it is kept", async () => {
    const fake = await directory(
      only("search", ({ socket }) => {
        socket.write(Buffer.from([0x30, 0x84, 0x06, 0x40, 0, 0, 0x02, 0x01, 0x02, 0x64, 0x84, 0x06, 0x3f, 0xff, 0xf0]));
        flood(socket, megabyte, 100);
        return "hang";
      }),
    );
    const before = process.memoryUsage().arrayBuffers;
    expect(await said(find(serverOf(fake)))).toMatch(
      /^too-much filter: .* answers with more than 4 MiB or 1000 entries/,
    );
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(20 * 1024 * 1024);
    await gone(fake);
  });

  test.each([
    ["entries without end", BOB, 1_000_000],
    ["a few entries of a megabyte", { description: [megabyte] }, 100],
  ])("%s are cut off", async (_, attributes, times) => {
    const fake = await directory(
      only("search", ({ id, socket }) => {
        flood(socket, entry(id, "uid=x", attributes), times);
        return "hang";
      }),
    );
    expect(await said(find(serverOf(fake)))).toMatch(/^too-much filter/);
    await gone(fake);
  });

  test("4 MiB of empty values in one entry are too much for one address", async () => {
    const values = ber(0x31, Buffer.alloc(3_000_000, Buffer.from([0x04, 0x00])));
    const fake = await directory(
      only("search", ({ id }) => message(id, 0x64, ber(0x04, "x"), ber(0x30, ber(0x30, ber(0x04, "cn"), values)))),
    );
    expect(await said(find(serverOf(fake)))).toMatch(/^too-much filter: .* or in more than 50000 elements$/);
  });

  test("does not spoil a search beside it: that one is made once more on a new connection", async () => {
    const fake = await directory(
      only("search", ({ id, socket, text, connection }) => {
        if (text.includes("ann@"))
          return connection === 1 ? "hang" : Buffer.concat([entry(id, "uid=ann", BOB), result(id, 0x65)]);
        if (!text.includes("big@")) return undefined;
        for (let index = 0; index <= 1_001; index++) socket.write(entry(id, "uid=x", {}));
        return "hang";
      }),
    );
    const server = serverOf(fake, READER);
    await find(server);
    const beside = said(find(server, "ann@example.com"));
    expect(await said(find(server, "big@example.com"))).toMatch(/^too-much/);
    expect(await beside).toBe("uid=ann");
  });
});

describe("a directory that is none", () => {
  test("because nothing listens is a fault that names host and port", async () => {
    const fake = await fakeDirectory(() => undefined);
    await fake.close();
    expect(await said(find(serverOf(fake)))).toBe(`unreachable port: connection refused by 127.0.0.1:${fake.port}`);
  });

  const nonsense: [string, (id: number) => Buffer][] = [
    ["a page of a web server", () => Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n")],
    ["random octets", () => Buffer.from("30ff0102030405", "hex")],
    ["an indefinite length", () => Buffer.from("3080020102", "hex")],
    ["a message without an operation", () => ber(0x30, ber(0x02, Buffer.from([2])))],
    ["an operation that no server sends", (id) => message(id, 0x63)],
    [
      "an element that goes on beyond its end",
      () => Buffer.from("301102010264 0c0400300830060400 3102047f".replace(/ /g, ""), "hex"),
    ],
    ["the answer to a bind", (id) => result(id, 0x61)],
    ["a result without a code", (id) => message(id, 0x65)],
    ["a negative result", (id) => message(id, 0x65, ber(0x0a, Buffer.from([0xff])), ber(0x04), ber(0x04))],
  ];
  test.each(nonsense)("because it answers with %s is a fault at once, and not an empty answer", async (_, answer) => {
    const fake = await directory(only("search", ({ id }) => answer(id)));
    expect(await said(find(serverOf(fake)))).toMatch(/^other port: 127\.0\.0\.1:\d+ does not speak LDAP \(/);
    await gone(fake);
  });

  test("because it answers what was not asked is cut off", async () => {
    const fake = await directory(only("search", ({ id }) => result(id + 7, 0x65)));
    expect(await said(find(serverOf(fake)))).toMatch(/^cut host/);
  });

  test.each([
    ["in the middle of an entry", (id: number) => entry(id, "uid=bob", BOB).subarray(0, 20)],
    ["between the entries and the result", (id: number) => entry(id, "uid=bob", BOB)],
  ])("because it closes %s is a fault, and no shorter answer", async (_, part) => {
    const fake = await directory(
      only("search", ({ id, socket }) => {
        socket.end(part(id));
        return "hang";
      }),
    );
    expect(await said(find(serverOf(fake)))).toMatch(/^cut host: .* closed the connection/);
    expect(fake.requests.filter(({ operation }) => operation === "search")).toHaveLength(1);
  });

  test("because it says that it closes is quoted", async () => {
    const fake = await directory(only("search", () => result(0, 0x78, 52, "going down")));
    expect(await said(find(serverOf(fake)))).toMatch(/^cut host: .* closed the connection: going down \(52\)$/);
  });
});

describe("LOOK-04: references", () => {
  const FOREST = [
    "ldap://DomainDnsZones.example.com/DC=DomainDnsZones,DC=example,DC=com",
    "ldap://ForestDnsZones.example.com/DC=ForestDnsZones,DC=example,DC=com",
    "ldap://example.com/CN=Configuration,DC=example,DC=com",
  ];
  test("to the parts of Active Directory that hold no people are no fault", async () => {
    const fake = await directory(
      only("search", ({ id }) => Buffer.concat([...FOREST.map((uri) => reference(id, uri)), result(id, 0x65)])),
    );
    expect(await said(find(serverOf(fake)))).toBe("");
  });
  test("to a child domain are one", async () => {
    const child = reference(2, "ldap://child.example.com/DC=child,DC=example,DC=com");
    const fake = await directory(only("search", ({ id }) => Buffer.concat([child, result(id, 0x65)])));
    expect(await said(find(serverOf(fake)))).toMatch(/^referral baseDn: .* refers to ldap:\/\/child\.example\.com\//);
  });
});

test("an attribute of which only a part came is a fault", async () => {
  const part = { "userCertificate;range=0-1499": ["x"] };
  const fake = await directory(only("search", ({ id }) => Buffer.concat([entry(id, "uid=x", part), result(id, 0x65)])));
  expect(await said(find(serverOf(fake)))).toMatch(
    /^too-much : .* gives only a part of userCertificate;range=0-1499 of uid=x/,
  );
});

test.each([
  [1, /^refused user: insufficient rights of an anonymous user/],
  [3, /^time-out filter/],
  [8, /^refused tls/],
  [11, /^too-much filter/],
  [48, /^refused user/],
  [50, /^refused user: insufficient rights of an anonymous user .*: go away$/],
  [51, /^other : .* answers with LDAP result 51: go away$/],
  [80, /^other : .* answers with LDAP result 80: go away$/],
])("result %i is a fault and no empty answer", async (code, text) => {
  const fake = await directory(only("search", ({ id }) => result(id, 0x65, code, "go\r\naway")));
  expect(await said(find(serverOf(fake)))).toMatch(text);
});
