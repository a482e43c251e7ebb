// The wiring of Web Key Directories: hosts in the house are not reached by them, whatever the DNS says.
import { expect, test, vi } from "vitest";
import { pgpSource } from "./source-of.ts";

const dns = vi.hoisted(() => ({ asked: [] as string[] }));
vi.mock("node:dns", async (original) => ({
  ...(await original<object>()),
  lookup(host: string, _options: unknown, done: (error: null, addresses: { address: string; family: 4 }[]) => void) {
    dns.asked.push(host);
    done(null, [{ address: "127.0.0.1", family: 4 }]);
  },
}));

test("LOOK-14: with wkd on, a domain whose directory is at a private address is not connected to, and fails", async () => {
  expect(await pgpSource("{ wkd: true }", "wkd").said("alice@example.com")).toBe(
    "openpgpkey.example.com has the address 127.0.0.1, which is not public; it is not connected to",
  );
  expect(dns.asked).toEqual(["openpgpkey.example.com."]);
});
