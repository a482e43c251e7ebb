// log.addresses: what looks like an address in a foreign text is written in the form asked for, whatever its shape.
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { openLog, type AddressForm } from "../src/log.ts";

function logged(text: string, addresses: AddressForm = "hashed"): string {
  const lines: string[] = [];
  openLog({ level: "info", addresses }, { write: (line) => void lines.push(line) }).event("delivery.failed", {
    reply: text,
  });
  return (JSON.parse(lines[0]!) as { reply: string }).reply;
}

const hashOf = (address: string) => createHash("sha256").update(address).digest("hex").slice(0, 16);

test.each([
  ["<Ann@Example.com>: no such user", `<${hashOf("ann@example.com")}>: no such user`],
  ["ann.lee+tag@example.com, bob_@x.org", `${hashOf("ann.lee+tag@example.com")}, ${hashOf("bob_@x.org")}`],
  ["mailto:ann@example.com.", `mailto:${hashOf("ann@example.com")}.`],
  ["ann@bücher.example", hashOf("ann@xn--bcher-kva.example")],
  ["no address at all, 5% of 40", "no address at all, 5% of 40"],
  ["@ 12:00", "@ 12:00"],
])("%s is written as %s", (text, written) => {
  expect(logged(text)).toBe(written);
});

test.each([
  ["a quoted local part", '"Ann Lee"@example.com'],
  ["a quoted local part with quotes in it", '"Ann\\"Lee"@example.com'],
  ["an address literal", "ann@[192.0.2.1]"],
  ["an IPv6 literal", "ann@[IPv6:2001:db8::1]"],
  ["an at sign in percent form", "https://list.example/?who=ann%40lee.example&x=1"],
  ["a rewritten return path", "<bounces+ann=lee.example@list.example>"],
  ["an underscore in the domain", "ann@lee_host.example"],
  ["a domain that begins with one", "ann@_lee.example"],
  ["a long local part", `ann${"x".repeat(100)}lee@example.com`],
])("%s leaves no part of it, hashed or by its domain", (_, text) => {
  for (const form of ["hashed", "domain"] as const) {
    expect(logged(`550 <${text}> unknown`, form).toLowerCase()).not.toContain("ann");
    expect(logged(`550 <${text}> unknown`, "full")).toContain(text);
  }
  expect(logged(`550 <${text}> unknown`).toLowerCase()).not.toContain("lee");
});

test("a text that is made to be searched for long is not", () => {
  const since = performance.now();
  for (const piece of ["a", '"', "a@", "%40", '"\\', "a%4", "[", "a@["]) logged(`${piece.repeat(200_000)}@`);
  expect(performance.now() - since).toBeLessThan(10_000);
});
