// Listeners: the settings of the two ways in, for Jira and for incoming mail.
import { z } from "zod";
import { duration, size } from "./amounts.ts";
import { atLeastOne, fault, noneTwice } from "./checks.ts";
import { pemFile, secretFile } from "./files.ts";
import { whole, words } from "./leaf.ts";
import { addressOrDomain, host, listen, network } from "./places.ts";

export const port = () => whole(1, 65_535);

/** TLS of a listener. */
function listenerTls() {
  const cert = "PEM file with the certificate of this listener and its chain.";
  const key = "PEM file with the private key of that certificate.";
  const mode =
    "off, starttls (offered), required (STARTTLS before anything else) or implicit (TLS from the first byte).";
  return z
    .discriminatedUnion("mode", [
      z.strictObject({
        mode: z.literal("off").describe(mode),
        cert: pemFile().nullable().prefault(null).describe(cert),
        key: pemFile().nullable().prefault(null).describe(key),
      }),
      z.strictObject({
        mode: z.enum(["starttls", "required", "implicit"]).describe(mode),
        cert: pemFile().describe(cert),
        key: pemFile().describe(key),
      }),
    ])
    .prefault({ mode: "off" });
}

/** TLS towards the next hop. */
export const nextHopTls = () => z.enum(["off", "opportunistic", "required", "implicit"]);

export const outbound = () =>
  z
    .strictObject({
      listen: listen().prefault("127.0.0.1:2525").describe("Address and port that Jira sends to."),
      tls: listenerTls().describe("TLS of this listener."),
      allowNetworks: z.array(network()).prefault(["127.0.0.0/8", "::1/128"]).describe("Networks that may connect."),
      users: z
        .array(
          z.strictObject({
            name: words("a user name").describe("User name."),
            passwordFile: secretFile().describe("File with the password."),
          }),
        )
        .superRefine((users, context) =>
          noneTwice(
            users.map(({ name }) => name),
            context,
            "name",
          ),
        )
        .prefault([])
        .describe("Who may send; as soon as there is one, AUTH is required."),
      maxMessageSize: size().prefault("50MiB").describe("Largest message accepted, as announced by SIZE."),
      maxRecipients: whole(1, 100_000).prefault(1000).describe("Most recipients accepted in one mail transaction."),
      lineEndings: z
        .enum(["strict", "normalize"])
        .prefault("strict")
        .describe("strict: a bare CR, bare LF or NUL in DATA is refused and the session closed; normalize: mended."),
    })
    .prefault({})
    .describe("The listener that Jira sends to.");

export const inbound = () =>
  z
    .strictObject({
      listen: listen().prefault("127.0.0.1:2526").describe("Address and port that incoming mail is routed to."),
      tls: listenerTls().describe("TLS of this listener."),
      allowNetworks: z.array(network()).prefault(["127.0.0.0/8"]).describe("Networks that may connect."),
      recipients: atLeastOne(z.array(addressOrDomain()), "an address or @domain").describe(
        "Addresses or @domains accepted; all else is refused.",
      ),
      forward: z
        .union([
          z.literal("none"),
          z.strictObject({
            host: host().describe("Host name of the next hop."),
            port: port().prefault(25).describe("Port of the next hop."),
            tls: nextHopTls().prefault("opportunistic").describe("off, opportunistic, required or implicit."),
            ca: pemFile().nullable().prefault(null).describe("PEM file with the CAs to believe; null: the system's."),
          }),
        ])
        .prefault("none")
        .describe("none: these are copies, dropped after harvesting; else where mail is passed on, byte for byte."),
      evidence: z
        .enum(["authentication-results", "dmarc", "signature-only"])
        .prefault("authentication-results")
        .describe("Why From may be believed: authentication-results, dmarc (own check) or signature-only."),
      authservId: words("the name your mail server writes into Authentication-Results")
        .nullable()
        .prefault(null)
        .describe("Whose Authentication-Results field is believed."),
      issuers: z
        .enum(["anchors", "any"])
        .prefault("anchors")
        .describe("anchors: a certificate is learned only with a path to one of smime.trust.anchors; any: without."),
      autocrypt: z
        .boolean()
        .prefault(false)
        .describe("Whether keys in Autocrypt fields are learned, to be used when no other source has one."),
      deferredFor: duration().prefault("30d").describe("How long a key waits for its user to appear in Jira."),
    })
    .superRefine(({ evidence, authservId }, context) => {
      if (evidence === "authentication-results" && authservId === null)
        fault(context, ["authservId"], "needed when evidence is authentication-results");
    })
    .nullable()
    .prefault(null)
    .describe("The listener for incoming mail, whose keys are learned; null or left out: off.");
