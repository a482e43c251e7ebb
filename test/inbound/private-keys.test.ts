// Private keys that are mailed by mistake are noticed, by the beginning of each part and no more.
import { afterAll, expect, test } from "vitest";
import { holdsPrivateKey } from "../../src/inbound/private-keys.ts";
import { candidatesIn } from "../../src/pgp/offered-certificates.ts";
import { gnupgHome } from "../pgp/gnupg.ts";
import { exportedKeys } from "../pgp/signed-mail.ts";

const home = gnupgHome(true);
afterAll(() => home.close());
const signal = new AbortController().signal;
const secret = (...form: string[]) => home.run([...form, "--export-secret-keys", "joe@example.org"]).stdout;
const PEM = "-----BEGIN PRIVATE KEY-----\r\nMIIB\r\n-----END PRIVATE KEY-----\r\n";

function part(
  type: string,
  body: string | Buffer,
  encoding: "7bit" | "base64" | "quoted-printable" = "base64",
): Buffer {
  const text = encoding === "base64" ? Buffer.from(body).toString("base64").replace(/.{76}/g, "$&\r\n") : body;
  return Buffer.from(`Content-Type: ${type}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n${text.toString()}\r\n`);
}

test.each([
  ["PEM", part("text/plain", PEM, "7bit")],
  ["PEM in base64", part("application/octet-stream", PEM)],
  ["PEM in quoted-printable", part("text/plain", PEM.replaceAll("-", "=2D"), "quoted-printable")],
  ["an armored OpenPGP key", part("application/octet-stream", secret("--armor"))],
  ["an armored OpenPGP key as keys are sent", part("application/pgp-keys", secret("--armor"))],
  ["a binary OpenPGP key behind a public one", part("application/pgp-keys", Buffer.concat([publicKey(), secret()]))],
  ["PKCS#12 by its type", part("application/x-pkcs12", "x")],
  ["PKCS#12 by its name", part('application/octet-stream; name="Joe.P12"', "x")],
  ["a long part that begins with a key", part("application/octet-stream", PEM + "x".repeat(200_000))],
])("%s is noticed", async (_, message) => {
  expect(await holdsPrivateKey(message, [], signal)).toBe(true);
});

test("keys that were read before are not read again: what they are is known", async () => {
  const message = part("application/pgp-keys", secret());
  const offered = candidatesIn(publicKey());
  if ("fault" in offered) throw new Error(offered.fault);
  expect(await holdsPrivateKey(message, offered, signal)).toBe(false);
  expect(await holdsPrivateKey(part("text/plain", "x"), [{ bytes: secret(), isSecret: true }], signal)).toBe(true);
});

test("public keys, certificates and text are none, and a large part costs no more than its beginning", async () => {
  for (const one of [part("application/pgp-keys", publicKey()), part("text/plain", "a private key", "7bit")])
    expect(await holdsPrivateKey(one, [], signal)).toBe(false);
  const large = part("application/octet-stream", Buffer.alloc(8 * 1024 * 1024, 7));
  let fastest = Infinity;
  for (let time = 0; time < 20; time++) {
    const since = performance.now();
    await holdsPrivateKey(large, [], signal);
    fastest = Math.min(fastest, performance.now() - since);
  }
  // decoded whole it took some 20 ms
  expect(fastest).toBeLessThan(5);
});

function publicKey(): Buffer {
  return exportedKeys(home, ["alice@example.com"], "binary");
}
