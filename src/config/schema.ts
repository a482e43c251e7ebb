// Schema: every setting with its type, default and meaning; docs/CONFIG.md, JSON Schema and messages follow it.
import { z } from "zod";
import { duration, writeDuration } from "./amounts.ts";
import { file, folder, pemFile, secretFile, type FilePath, type SecretFile } from "./files.ts";
import { decimal, shown, textLeaf, whole, words, Wrong } from "./leaf.ts";
import { addressPattern, database, host, isLoopback, listen, url } from "./places.ts";
import { atLeastOne, fault } from "./checks.ts";
import { cacheSection, pgpSection, smimeSection } from "./key-settings.ts";
import { inbound, nextHopTls, outbound, port } from "./listeners.ts";
import type { Secret } from "../secret.ts";

const treatmentSettings = {
  type: z.enum(["smime-only", "smime-preferred", "pgp-preferred", "pgp-only"]),
  fallback: z.enum(["allow", "report", "block"]),
  hold: duration({ mayBeZero: true }),
  subject: z.enum(["keep", "issue-key", "hide"]),
  recoveryMail: z.enum(["encrypt", "exempt"]),
};

const project = () =>
  textLeaf<string>(
    "a project key such as SEC",
    { pattern: "^[A-Z][A-Z0-9_]+$" },
    (text) =>
      /^[A-Z][A-Z0-9_]+$/.test(text) ? text : new Wrong(`must be a project key such as SEC, not ${shown(text)}`),
    (text) => text,
  );

const rule = () =>
  z
    .strictObject({
      recipients: atLeastOne(z.array(addressPattern()), "an address or pattern")
        .optional()
        .describe("Condition: the recipient is one of these addresses; * stands for any run of characters."),
      project: project().optional().describe("Condition: the mail is about an issue of this project."),
      type: treatmentSettings.type.optional().describe("Overrides encryption.type."),
      fallback: treatmentSettings.fallback.optional().describe("Overrides encryption.fallback."),
      hold: treatmentSettings.hold.optional().describe("Overrides encryption.hold."),
      subject: treatmentSettings.subject.optional().describe("Overrides encryption.subject."),
      recoveryMail: treatmentSettings.recoveryMail.optional().describe("Overrides encryption.recoveryMail."),
    })
    .superRefine(({ recipients, project, ...overrides }, context) => {
      if (recipients === undefined && project === undefined)
        context.addIssue("needs a condition: recipients, project or both");
      if (Object.keys(overrides).length === 0)
        context.addIssue("overrides nothing; set type, fallback, hold, subject or recoveryMail");
    });

const upstream = () =>
  z
    .strictObject({
      host: host().describe("Host name of the company's mail server, which encrypted mail is sent to."),
      port: port().prefault(25).describe("Port of that server."),
      tls: nextHopTls()
        .prefault("opportunistic")
        .describe("off, opportunistic (if offered, unverified), required (STARTTLS, verified) or implicit (verified)."),
      ca: pemFile().nullable().prefault(null).describe("PEM file with the CAs to believe; null: the system's."),
      user: words("a user name").nullable().prefault(null).describe("User name for AUTH; null: no AUTH."),
      passwordFile: secretFile().nullable().prefault(null).describe("File with the password of that user."),
      tokenFile: secretFile()
        .nullable()
        .prefault(null)
        .describe("File with an OAuth 2 token (XOAUTH2), instead of a password."),
      connections: whole(1, 1000)
        .prefault(8)
        .describe("Most connections open at once; mail for one recipient leaves two of them to others."),
    })
    .superRefine(({ user, passwordFile, tokenFile, tls }, context) => {
      const hasSecret = passwordFile !== null || tokenFile !== null;
      if (passwordFile !== null && tokenFile !== null)
        fault(context, ["tokenFile"], "given together with passwordFile; keep one of them");
      if (user === null && hasSecret) fault(context, ["user"], "needed when passwordFile or tokenFile is set");
      if (user !== null && !hasSecret) fault(context, ["passwordFile"], "needed when user is set (or tokenFile)");
      if (user !== null && tls === "off")
        fault(context, ["tls"], "off would send the password in clear; set required or implicit, or remove user");
    })
    // so that the fault of an empty file names upstream.host, the one setting without a default
    .prefault({} as never)
    .describe("The mail server that encrypted mail leaves through.");

const encryption = () =>
  z
    .strictObject({
      type: treatmentSettings.type
        .prefault("smime-preferred")
        .describe("smime-only, smime-preferred, pgp-preferred or pgp-only; only: the other kind is not used."),
      fallback: treatmentSettings.fallback
        .prefault("report")
        .describe("Without a usable key: allow (send in clear), report (a notice without content) or block (nothing)."),
      hold: treatmentSettings.hold
        .prefault("7d")
        .describe("With report and block: how long the sealed original waits for a key; 0: it is not kept."),
      subject: treatmentSettings.subject
        .prefault("keep")
        .describe("keep, issue-key (only [JIRA] (SEC-42) stays outside) or hide; the true one is inside."),
      recoveryMail: treatmentSettings.recoveryMail
        .prefault("encrypt")
        .describe("encrypt, or exempt: invitations, password resets and address confirmations go in clear."),
      toSender: z.boolean().prefault(false).describe("Also encrypt to the From address if a key store holds its key."),
      plusAddress: z
        .enum(["exact", "strip"])
        .prefault("exact")
        .describe("exact, or strip: ann+jira@… falls back to the key of ann@…."),
      rules: z.array(rule()).prefault([]).describe("Exceptions; the first one that matches wins."),
    })
    .prefault({})
    .describe("How each recipient is treated.");

const retry = () =>
  z
    .strictObject({
      first: duration().prefault("1m").describe("Delay before the second attempt."),
      factor: decimal(1, 10).prefault(1.5).describe("By how much each further delay is longer."),
      max: duration().prefault("1h").describe("Longest delay between attempts."),
      giveUp: duration().prefault("5d").describe("Age at which a recipient fails and the sender gets a DSN."),
    })
    .superRefine(({ first, max }, context) => {
      if (max < first) fault(context, ["max"], `must be at least retry.first (${writeDuration(first)})`);
    })
    .prefault({})
    .describe("When delivery is tried again.");

const web = () =>
  z
    .strictObject({
      listen: listen().prefault("127.0.0.1:8025").describe("Address and port of the pages, /livez and /readyz."),
      publicUrl: url(["https", "http"], "https://sealpost.example.com")
        .prefault("http://127.0.0.1:8025")
        .describe("URL of the pages as users see it, for links in mail."),
      adminPasswordFile: secretFile()
        .nullable()
        .prefault(null)
        .describe("File with the password of /admin; null: no /admin."),
    })
    .superRefine(({ listen, publicUrl, adminPasswordFile }, context) => {
      if (!isLoopback(listen) && (adminPasswordFile === null || !publicUrl.toLowerCase().startsWith("https:")))
        fault(
          context,
          ["listen"],
          "open to the network without protection; listen on 127.0.0.1, or set web.adminPasswordFile and the https:// " +
            "address of the proxy in front as web.publicUrl",
        );
    })
    .prefault({})
    .describe("The web pages and health checks.");

const users = () =>
  z
    .strictObject({
      jira: z
        .strictObject({
          url: url(["https", "http"], "https://jira.example.com").describe("Base URL of Jira."),
          tokenFile: secretFile().describe("File with a personal access token of a user who may browse users."),
        })
        .nullable()
        .prefault(null)
        .describe("Jira's REST API; null: who was written to is known."),
    })
    .prefault({})
    .describe("Who is known to Jira.");

export const schema = z
  .strictObject({
    hostname: host()
      .nullable()
      .prefault(null)
      .describe("Name in greetings, Received and reports; null: the machine's name."),
    dataDir: folder().prefault("../data").describe("Folder of the embedded store: SQLite and spool bodies."),
    database: database().prefault("sqlite").describe("sqlite, or the URL of a PostgreSQL database for several nodes."),
    databasePasswordFile: secretFile().nullable().prefault(null).describe("File with the password of that database."),
    secretKeyFile: file()
      .prefault("../data/secret.key")
      .describe("Key that seals the spool; made on first start, mode 0600; keep it off the data volume."),
    outbound: outbound(),
    inbound: inbound(),
    upstream: upstream(),
    encryption: encryption(),
    smime: smimeSection(),
    pgp: pgpSection(),
    users: users(),
    cache: cacheSection(),
    retry: retry(),
    web: web(),
    metrics: z
      .strictObject({ listen: listen().prefault("127.0.0.1:9025").describe("Address and port of GET /metrics.") })
      .prefault({})
      .describe("Figures for Prometheus."),
    log: z
      .strictObject({
        level: z
          .enum(["debug", "info", "warn", "error"])
          .prefault("info")
          .describe("Least level that is written: debug, info, warn or error."),
        addresses: z
          .enum(["full", "domain", "hashed"])
          .prefault("full")
          .describe("How mail addresses are written: full, domain (only that) or hashed."),
      })
      .prefault({})
      .describe("The log on stdout."),
  })
  .superRefine(({ outbound, inbound, web, metrics }, context) => {
    const listeners = { outbound, web, metrics, ...(inbound === null ? {} : { inbound }) };
    const taken = new Map<string, string>();
    for (const [name, { listen }] of Object.entries(listeners)) {
      const place = `${listen.host} ${listen.port}`;
      const other = taken.get(place);
      if (other !== undefined && listen.port !== 0) fault(context, [name, "listen"], `the same as ${other}.listen`);
      taken.set(place, name);
    }
  });

/** What the schema makes of a file: names of files are still as written there. */
export type Parsed = z.output<typeof schema>;

/**
 * The settings: names as in the file; durations in milliseconds, sizes in bytes, files as absolute paths; beside each
 * `…File` that holds a secret, the secret (`upstream.passwordFile` and `upstream.password`).
 */
export type Settings = Resolved<Omit<Parsed, "hostname">> & { readonly hostname: string };

type Resolved<T> = T extends FilePath | SecretFile
  ? string
  : T extends readonly (infer E)[]
    ? readonly Resolved<E>[]
    : T extends object
      ? Flat<
          { readonly [K in keyof T]: Resolved<T[K]> } & {
            readonly [K in keyof T as SecretName<K, T[K]>]: null extends T[K] ? Secret | null : Secret;
          }
        >
      : T;

type Flat<T> = { [K in keyof T]: T[K] };

type SecretName<K, V> = Extract<V, SecretFile> extends never ? never : K extends `${infer Name}File` ? Name : never;
