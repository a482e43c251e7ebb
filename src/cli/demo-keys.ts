// Throw-away keys for the demo, and the readers that own them.
import { createPrivateKey, webcrypto, type KeyObject } from "node:crypto";
import * as asn1js from "asn1js";
import * as openpgp from "openpgp";
import * as pkijs from "pkijs";

const DAY_MS = 86_400_000;

export type SmimeReader = {
  readonly certificatePem: string;
  readonly keyPem: string;
  readonly certificate: pkijs.Certificate;
  readonly key: KeyObject;
};
export type PgpReader = { readonly publicArmored: string; readonly privateArmored: string };

/** A self-signed RSA certificate for one address, valid for a day. */
export async function makeSmimeReader(address: string, now: number): Promise<SmimeReader> {
  const algorithm = {
    name: "RSASSA-PKCS1-v1_5",
    modulusLength: 2048,
    publicExponent: new Uint8Array([1, 0, 1]),
    hash: "SHA-256",
  };
  const pair = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = new pkijs.Certificate();
  certificate.version = 2;
  certificate.serialNumber = new asn1js.Integer({ value: 1 });
  const name = new pkijs.AttributeTypeAndValue({
    type: "2.5.4.3",
    value: new asn1js.Utf8String({ value: "Sealpost demo" }),
  });
  certificate.subject.typesAndValues.push(name);
  certificate.issuer.typesAndValues.push(name);
  certificate.notBefore.value = new Date(now - DAY_MS);
  certificate.notAfter.value = new Date(now + DAY_MS);
  const names = new pkijs.GeneralNames({ names: [new pkijs.GeneralName({ type: 1, value: address })] });
  certificate.extensions = [new pkijs.Extension({ extnID: "2.5.29.17", extnValue: names.toSchema().toBER() })];
  await certificate.subjectPublicKeyInfo.importKey(pair.publicKey);
  await certificate.sign(pair.privateKey, "SHA-256");
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey("pkcs8", pair.privateKey));
  const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" });
  const der = Buffer.from(certificate.toSchema(true).toBER());
  const pem = `-----BEGIN CERTIFICATE-----\n${der.toString("base64").replace(/.{64}/g, "$&\n")}\n-----END CERTIFICATE-----\n`;
  return { certificatePem: pem, keyPem: key.export({ type: "pkcs8", format: "pem" }), certificate, key };
}

/** A Curve25519 key for one address that every OpenPGP program reads. */
export async function makePgpReader(address: string, now: number): Promise<PgpReader> {
  const { publicKey, privateKey } = await openpgp.generateKey({
    type: "ecc",
    curve: "curve25519Legacy",
    userIDs: [{ name: "Sealpost demo", email: address }],
    date: new Date(now - DAY_MS),
    format: "armored",
  });
  return { publicArmored: publicKey, privateArmored: privateKey };
}
