// Test PKI: certificates and revocation lists of every kind, made by openssl at run time, and openssl verify as their judge.
import { execFile } from "node:child_process";
import { createHash, generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { parseCertificate, type Certificate } from "../../src/smime/certificate.ts";
import { pemBlocks } from "../../src/smime/pem.ts";
import { readRevocationLists, type RevocationList } from "../../src/smime/revocation-list.ts";
import { createTrust, type TrustVerdict } from "../../src/smime/trust.ts";

const run = promisify(execFile);
const DAY_SECONDS = 86_400;

export type KeySort = "P-256" | "P-384" | "ed25519" | "ed448" | "rsa" | "rsa-4096" | "rsa-pss";

/**
 * `key` names the key, made when first named; `extensions` are lines of an openssl section, of which the last for an extension
 * counts; "" for a version 1 certificate.
 */
export type CertificateOrder = {
  readonly subject: string;
  readonly key: string;
  /** The name of the certificate above; undefined: self-signed. */
  readonly by?: string;
  readonly extensions: string;
  readonly days?: number;
  readonly sort?: KeySort;
  readonly signing?: readonly string[];
  readonly serial?: number;
};

/** `from` and `to` in days from now; `revoked` are serial numbers, with a reason or none. */
export type ListOrder = {
  readonly by: string;
  readonly from?: number;
  readonly to?: number;
  readonly revoked?: readonly (number | readonly [serial: number, reason: string])[];
  readonly extensions?: string;
  readonly signing?: readonly string[];
};

export type VerifyOrder = {
  readonly companions?: readonly string[];
  readonly anchors: readonly string[];
  readonly lists?: readonly string[];
  /** Days from when the PKI was made; 1 where not said. */
  readonly at?: number;
};

const CA = [
  "basicConstraints=critical,CA:TRUE",
  "keyUsage=critical,keyCertSign,cRLSign",
  "subjectKeyIdentifier=hash",
].join("\n");
export const END_ENTITY = [
  "basicConstraints=CA:FALSE",
  "keyUsage=critical,digitalSignature,keyAgreement",
  "extendedKeyUsage=emailProtection",
].join("\n");

export const ANN = `${END_ENTITY}\nsubjectAltName=email:ann@example.com\nauthorityKeyIdentifier=keyid`;
const SUBCA = `${CA}\nauthorityKeyIdentifier=keyid`;
/** A root, a CA below `by`, and an end entity of Ann; `extra` are further lines of extensions. */
export const ca = (name: string, extra = ""): CertificateOrder => ({
  subject: `/O=Test/CN=${name}`,
  key: name,
  extensions: `${CA}\n${extra}`,
});
export const sub = (name: string, by: string, extra = ""): CertificateOrder => ({
  ...ca(name),
  by,
  extensions: `${SUBCA}\n${extra}`,
});
export const leaf = (by: string, extensions = ANN): CertificateOrder => ({
  subject: "/CN=Ann",
  key: "ann",
  by,
  extensions,
});

/** Under the anchor `root`. */
export const under = (...companions: string[]): VerifyOrder => ({ anchors: ["root"], companions });
export type Row = readonly [title: string, name: string, order: VerifyOrder, expected: RegExp];
export const GOOD = /^good$/;
/** `good`, or the reason and what an operator is told. */
export const said = (verdict: TrustVerdict) => (verdict.trusted ? "good" : `${verdict.reason}: ${verdict.detail}`);

/** Makes a PKI in a folder of its own; `close` removes it. */
export class TestPki {
  readonly folder = mkdtempSync(join(tmpdir(), "sealpost-pki-"));
  readonly made: number = Math.floor(Date.now() / 1000);
  #count = 1000;
  readonly #lists = new Map<string, () => readonly RevocationList[]>();
  readonly #serials = new Map<string, number>();
  readonly #keyOf = new Map<string, string>();

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  at(name: string): string {
    return join(this.folder, name);
  }

  /** Milliseconds since 1970, so many days from when the PKI was made. */
  time(days: number): number {
    return (this.made + days * DAY_SECONDS) * 1000;
  }

  serial(name: string): number {
    return this.#serials.get(name)!;
  }

  certificate(name: string): Certificate {
    return parseCertificate(this.der(`${name}.pem`));
  }

  der(file: string): Buffer {
    return [...pemBlocks(readFileSync(this.at(file), "latin1"))][0]!.der!;
  }

  put(name: string, der: Uint8Array): void {
    const lines = Buffer.from(der).toString("base64").replace(/.{64}/g, "$&\n");
    writeFileSync(this.at(`${name}.pem`), `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`);
  }

  async issue(name: string, order: CertificateOrder): Promise<void> {
    const { subject, key, by, extensions, days = 3000, signing = [], serial = (this.#count += 1) } = order;
    this.#makeKey(key, order.sort ?? "P-256");
    this.#serials.set(name, serial);
    this.#keyOf.set(name, key);
    const args = ["x509", "-new", "-subj", subject, "-days", String(days), "-set_serial", String(serial), ...signing];
    if (extensions !== "") {
      writeFileSync(this.at(`${name}.ext`), lastOfEach(extensions));
      args.push("-extfile", this.at(`${name}.ext`));
    }
    if (by === undefined) args.push("-key", this.at(`${key}.key`));
    else {
      args.push("-force_pubkey", this.at(`${key}.pub`));
      args.push("-CA", this.at(`${by}.pem`), "-CAkey", this.at(`${this.#keyOf.get(by)!}.key`));
    }
    await run("openssl", [...args, "-out", this.at(`${name}.pem`)]);
  }

  /** In the order of writing: what stands above comes first. */
  async issueAll(orders: Readonly<Record<string, CertificateOrder>>): Promise<void> {
    for (const [name, order] of Object.entries(orders)) await this.issue(name, order);
  }

  async revoke(name: string, order: ListOrder): Promise<void> {
    const { by, from = -1, to = 3000, revoked = [], extensions = "", signing = [] } = order;
    const folder = this.at(`${name}.list`);
    const entries = revoked.map((entry) => {
      const [serial, reason] = typeof entry === "number" ? [entry] : entry;
      const hex = serial.toString(16).padStart(4, "0").toUpperCase();
      return `R\t400101000000Z\t240501000000Z${reason === undefined ? "" : `,${reason}`}\t${hex}\tunknown\t/CN=x\n`;
    });
    writeFileSync(`${folder}.txt`, entries.join(""));
    writeFileSync(`${folder}.number`, "01\n");
    const section = `[ca]\ndefault_ca=x\n[x]\ndatabase=${folder}.txt\ncrlnumber=${folder}.number\ndefault_md=default\n`;
    writeFileSync(`${folder}.cnf`, `${section}crl_extensions=e\n[e]\nauthorityKeyIdentifier=keyid\n${extensions}\n`);
    const key = this.at(`${this.#keyOf.get(by)!}.key`);
    const times = ["-crl_lastupdate", asn1Time(this.time(from)), "-crl_nextupdate", asn1Time(this.time(to))];
    await run("openssl", [
      ...["ca", "-gencrl", "-config", `${folder}.cnf`, "-cert", this.at(`${by}.pem`), "-keyfile", key, ...times],
      ...[...signing, "-out", this.at(`${name}.crl`)],
    ]);
    try {
      const lists = await readRevocationLists(readFileSync(this.at(`${name}.crl`)));
      this.#lists.set(name, () => lists);
    } catch (cause) {
      this.#lists.set(name, () => {
        throw cause;
      });
    }
  }

  /** Throws the reason when a list is refused. */
  lists(...names: readonly string[]): RevocationList[] {
    return names.flatMap((name) => this.#lists.get(name)!());
  }

  /** Our own judgement; lists are asked for strictly, as openssl does. */
  judge(name: string, { companions = [], anchors, lists, at = 1 }: VerifyOrder): TrustVerdict {
    const read = (names: readonly string[]) => names.map((one) => this.certificate(one));
    const revocation = lists && this.lists(...lists);
    const trust = createTrust({
      anchors: read(anchors),
      intermediates: [],
      lists: revocation && (() => revocation),
      onMissingList: "wait",
    });
    return trust.judge(this.certificate(name), read(companions), this.time(at));
  }

  /** Whether openssl finds a path; what it says when it does not. */
  async verify(name: string, order: VerifyOrder): Promise<{ readonly isGood: boolean; readonly said: string }> {
    const { companions = [], anchors, lists, at = 1 } = order;
    const together = (part: string, files: readonly string[]) => {
      const text = files.map((file) => readFileSync(this.at(file), "latin1")).join("\n");
      const path = this.at(`${createHash("sha256").update(text).digest("hex").slice(0, 16)}.${part}`);
      writeFileSync(path, text);
      return path;
    };
    const pem = (file: string) => `${file}.pem`;
    const args = ["verify", "-partial_chain", "-purpose", "smimesign", "-attime", String(this.time(at) / 1000)];
    args.push("-trusted", together("trusted", anchors.map(pem)));
    if (companions.length > 0) args.push("-untrusted", together("untrusted", companions.map(pem)));
    if (lists !== undefined) args.push("-crl_check_all");
    const crl = lists ?? [];
    if (crl.length > 0)
      args.push(
        "-CRLfile",
        together(
          "lists",
          crl.map((list) => `${list}.crl`),
        ),
      );
    try {
      const { stdout } = await run("openssl", [...args, this.at(pem(name))]);
      return { isGood: true, said: stdout };
    } catch (cause) {
      const { code, stderr = "" } = cause as { code?: unknown; stderr?: string };
      // 2: openssl judged and refused; anything else says nothing of the certificate
      if (code !== 2) throw cause;
      return { isGood: false, said: stderr };
    }
  }

  #makeKey(name: string, sort: KeySort): void {
    if ([...this.#keyOf.values()].includes(name)) return;
    const { publicKey, privateKey } = pairOf(sort);
    writeFileSync(this.at(`${name}.key`), privateKey.export({ format: "pem", type: "pkcs8" }), { mode: 0o600 });
    writeFileSync(this.at(`${name}.pub`), publicKey.export({ format: "pem", type: "spki" }));
  }
}

function pairOf(sort: KeySort) {
  switch (sort) {
    case "ed25519":
      return generateKeyPairSync("ed25519");
    case "ed448":
      return generateKeyPairSync("ed448");
    case "rsa":
      return generateKeyPairSync("rsa", { modulusLength: 2048 });
    case "rsa-4096":
      return generateKeyPairSync("rsa", { modulusLength: 4096 });
    case "rsa-pss":
      return generateKeyPairSync("rsa-pss", { modulusLength: 2048 });
    case "P-256":
    case "P-384":
      return generateKeyPairSync("ec", { namedCurve: sort });
  }
}

function lastOfEach(lines: string): string {
  const [, first = "", sections = ""] = /^([^[]*)([^]*)$/.exec(lines) ?? [];
  const byName = new Map(first.split("\n").map((line) => [line.split("=")[0], line]));
  return `${[...byName.values()].join("\n")}\n${sections}`;
}

function asn1Time(time: number): string {
  return new Date(time).toISOString().replace(/[-:T]|\.\d+/g, "");
}
