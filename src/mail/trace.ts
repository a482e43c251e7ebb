// Trace: the Received field that every relay adds (RFC 5321 4.4), and the loop that too many of them mean.

/**
 * So many Received fields mean that a message goes round in a circle (RFC 5321 6.3). What Jira sends has passed hardly a server;
 * mail from outside may have passed many.
 */
export const MAX_HOPS = { outbound: 30, inbound: 100 } as const;

/** So often a message may have passed this very relay: once on its way out, once in, and a few times by unusual routes. */
export const MAX_OWN_HOPS = 4;

export type Hop = {
  readonly heloName: string;
  readonly peerAddress: string;
  readonly hostname: string;
  /** RFC 3848: SMTP, ESMTP, ESMTPS, ESMTPA, ESMTPSA, UTF8SMTP… */
  readonly protocol: string;
  readonly id: string;
  readonly at: number;
};

/** No `for` clause: it would show one recipient to another. */
export function receivedField(hop: Hop): string {
  const date = new Date(hop.at).toUTCString().replace("GMT", "+0000");
  const peer = hop.peerAddress.includes(":") ? `IPv6:${hop.peerAddress}` : hop.peerAddress;
  const from = hop.heloName === "" ? "unknown" : hop.heloName;
  return `Received: from ${from} ([${peer}])\r\n by ${hop.hostname} (Sealpost) with ${hop.protocol} id ${hop.id};\r\n ${date}\r\n`;
}

/** Whether the relay of this name wrote the Received field with this value. */
export function isOwnHop(value: string, hostname: string): boolean {
  return value.includes(` by ${hostname} (Sealpost) with `);
}

/** Whether a relay of this program wrote the Received field with this value, whatever its name is. */
export function isSealpostHop(value: string): boolean {
  return / by \S+ \(Sealpost\) with /.test(value);
}
