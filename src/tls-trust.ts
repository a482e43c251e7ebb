// TLS trust: the authorities that a server's certificate must lead to, of the system or of a PEM file.
import { X509Certificate } from "node:crypto";
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";

/** The system's authorities, as PEM texts. */
export function systemAuthorities(): readonly string[] {
  const system = getCACertificates("system");
  // a container image may have no store of its own
  return system.length > 0 ? system : getCACertificates("bundled");
}

let ofSystem: SecureContext | undefined;

/** The trust in the system's authorities. Hundreds of certificates cost a tenth of a second: they are read once in a process. */
export function systemTrust(): SecureContext {
  return (ofSystem ??= trustIn(systemAuthorities()));
}

/** The trust in these authorities and no others. A text without a certificate is none: see holdsCertificate. */
export function trustIn(authorities: readonly string[]): SecureContext {
  return createSecureContext({ ca: [...authorities], minVersion: "TLSv1.2" });
}

/** createSecureContext takes any text for a list of authorities, and then trusts nobody. */
export function holdsCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0;
  } catch {
    return false;
  }
}
