// StartTLS that goes wrong and connections that end: what is made anew is as safe as the first, or nothing leaves.
import { describe, expect, test } from "vitest";
import { READER } from "../slapd.ts";
import { authority, directory, find, gone, only, said, serverOf } from "./asking.ts";
import { BOB, entry, result, type FakeAnswer, type FakeDirectory, type FakeRequest } from "./fake-directory.ts";

describe("StartTLS that goes wrong", () => {
  const settings = { tls: "starttls" } as const;
  const answers: [string, (request: FakeRequest) => FakeAnswer, RegExp][] = [
    [
      "is not offered",
      ({ id }) => result(id, 0x78, 2, "unsupported"),
      /^unreachable tls: .* does not offer StartTLS \(2 unsupported\)$/,
    ],
    ["is refused for now", ({ id }) => result(id, 0x78, 52), /^unreachable tls: .* does not offer StartTLS \(52\)$/],
    [
      "is answered with more in clear behind it",
      ({ id }) => Buffer.concat([result(id, 0x78), entry(2, "uid=evil", BOB), result(2, 0x65)]),
      /^unreachable tls: .* sends more in clear after its answer to StartTLS$/,
    ],
    [
      "is answered with clear text instead of a handshake",
      ({ id, socket }) => {
        socket.write(result(id, 0x78));
        setImmediate(() => socket.write(entry(2, "uid=evil", BOB)));
        return "hang";
      },
      /^unreachable tls: /,
    ],
    ["is answered with something else", ({ id }) => result(id, 0x61), /^other port: .* does not speak LDAP/],
    ["is answered to another request", ({ id }) => result(id + 1, 0x78), /^other port: .* does not speak LDAP/],
    ["is answered with a web page", () => Buffer.from("HTTP/1.1 400\r\n"), /^other port: .* does not speak LDAP/],
    ["ends the connection", () => "drop", /^unreachable (?:tls|host): /],
  ];
  test.each(answers)("because it %s is a fault, and neither password nor address leave", async (_, answer, text) => {
    const fake = await directory(only("starttls", answer));
    expect(await said(find(serverOf(fake, { ...settings, ...READER })))).toMatch(text);
    await gone(fake);
    expect(fake.requests.map(({ operation }) => operation)).toEqual(["starttls"]);
  });

  test("LOOK-05: with a certificate for another name is a fault, and neither password nor address leave", async () => {
    const fake = await directory(() => undefined, { certificate: await authority.issue(["DNS:other.test"]) });
    const fault = await said(find(serverOf(fake, { ...settings, ...READER })));
    expect(fault).toBe("untrusted host: certificate of 127.0.0.1 is for another name");
    const byName = await said(find(serverOf(fake, { ...settings, ...READER, host: "localhost" })));
    expect(byName).toBe("untrusted host: certificate of localhost is for another name");
    expect(fake.requests.map(({ operation }) => operation)).toEqual(["starttls", "starttls"]);
  });

  test("LOOK-05: with a certificate that has expired is a fault", async () => {
    const fake = await directory(() => undefined, { certificate: await authority.issue(["IP:127.0.0.1"], -1) });
    expect(await said(find(serverOf(fake, settings)))).toMatch(
      /^untrusted ca: certificate of 127\.0\.0\.1 not trusted \(.*expired/,
    );
  });
});

describe("a connection that the server closes", () => {
  const closing = async (script: (request: FakeRequest) => FakeAnswer = () => undefined) => {
    const fake = await directory(script);
    const server = serverOf(fake, { tls: "starttls", ...READER });
    expect(await said(find(server))).toBe("uid=bob");
    return { fake, server };
  };
  const told = (fake: FakeDirectory, connection: number) =>
    fake.requests
      .filter((one) => one.connection === connection)
      .map(({ operation, isInTls }) => `${operation}${isInTls ? " in tls" : ""}`);

  test("while it is idle is made anew: StartTLS, bind, and the address only then", async () => {
    const { fake, server } = await closing();
    fake.openSockets.forEach((socket) => socket.destroy());
    await gone(fake);
    expect(await said(find(server))).toBe("uid=bob");
    expect(told(fake, 2)).toEqual(["starttls", "bind in tls", "search in tls"]);
    expect(told(fake, 1)).toEqual(told(fake, 2));
  });

  test("when a search arrives is made anew once, and no more often", async () => {
    const { fake, server } = await closing(
      only("search", ({ connection, text }) => (connection === 1 && !text.includes("bob@") ? "drop" : undefined)),
    );
    expect(await said(find(server, "ann@example.com"))).toBe("");
    expect(fake.requests.filter(({ operation }) => operation === "search")).toHaveLength(3);
    const always = await closing(only("search", ({ text }) => (text.includes("bob@") ? undefined : "drop")));
    expect(await said(find(always.server, "ann@example.com"))).toMatch(/^cut host/);
    expect(always.fake.requests.filter(({ operation }) => operation === "search")).toHaveLength(3);
  });

  test("and then refuses the bind is a fault, and no empty answer", async () => {
    const { fake, server } = await closing(
      only("bind", ({ id, connection }) => (connection === 1 ? undefined : result(id, 0x61, 49))),
    );
    fake.openSockets.forEach((socket) => socket.destroy());
    await gone(fake);
    expect(await said(find(server))).toMatch(/^refused passwordFile: wrong user or password/);
    expect(told(fake, 2)).toEqual(["starttls", "bind in tls", "unbind in tls"]);
  });

  test("and then offers no StartTLS is a fault: nothing goes on in clear", async () => {
    const { fake, server } = await closing(
      only("starttls", ({ id, connection }) => (connection === 1 ? undefined : result(id, 0x78, 2))),
    );
    fake.openSockets.forEach((socket) => socket.destroy());
    await gone(fake);
    expect(await said(find(server))).toMatch(/^unreachable tls: .* does not offer StartTLS/);
    expect(told(fake, 2)).toEqual(["starttls"]);
  });
});
