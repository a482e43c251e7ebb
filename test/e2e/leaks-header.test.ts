// What may be seen outside the ciphertext: a canary in each place of a mail, and which of them the bytes that left show.
import { beforeAll, describe, expect, test } from "vitest";
import { fixtureBytes } from "../fixtures.ts";
import { startRelay } from "../relay.ts";
import { startUpstream, type RecordedTransaction } from "../upstream.ts";
import { field, protection, readPgp, readSmime } from "./arrived.ts";
import { hunt } from "./hunt.ts";
import { issueMail, sendMail } from "./jira.ts";

const [ALICE, JOE] = ["alice@example.com", "joe@example.org"];

/** Each place has a word of its own. */
const WORD = {
  subject: "Zwergpinguin",
  topic: "Haubentaucher",
  fromName: "Kolibrischnabel",
  toName: "Rohrdommel",
  boundary: "Wiedehopf",
  preamble: "Sumpfohreule",
  epilogue: "Nachtigallen",
  description: "Brachvogel",
  fileName: "Uhukralle",
  typeName: "Zaunkoenig",
  attachment: "Eisvogelfeder",
  inner: "Steinadler",
  calendar: "Mauersegler",
  contentClass: "Wendehals",
  hop: "Bienenfresser",
};
type Place = keyof typeof WORD;

/** Seen outside in every mode, as docs/TREATMENT.md says. */
const NAMES: readonly Place[] = ["fromName", "toName"];
const SEEN: Readonly<Record<"KEEP" | "KEY" | "HIDE", readonly Place[]>> = {
  KEEP: ["subject", "topic", ...NAMES],
  KEY: NAMES,
  HIDE: NAMES,
};
const PROJECTS = Object.keys(SEEN) as (keyof typeof SEEN)[];

const lines = (...text: readonly string[]) => text.join("\r\n");

function mail(project: string): Buffer {
  const boundary = `----=_${WORD.boundary}`;
  const inner = `${WORD.boundary}.2`;
  return issueMail(project, {
    to: `"${WORD.toName}" <${ALICE}>, ${JOE}`,
    fields: {
      Received: `from ${WORD.hop}.corp (10.1.2.3) by jira.${WORD.hop}.corp with ESMTP; Tue, 24 Nov 2026 09:59:59 +0000`,
      From: `"Jane (${WORD.fromName}) (Jira)" <jira@example.com>`,
      Subject: `[JIRA] (${project}-1) =?utf-8?B?${Buffer.from(WORD.subject).toString("base64")}?=`,
      "Thread-Topic": `[JIRA] (${project}-1) ${WORD.topic}`,
      "Content-Type": `multipart/mixed;\r\n boundary="${boundary}"`,
      "Content-Class": `urn:content-classes:${WORD.contentClass}`,
      "Content-Description": `all of the ${WORD.description}`,
    },
    text: lines(
      ...[`${WORD.preamble} stands before the parts`, `--${boundary}`],
      ...[`Content-Type: multipart/alternative; boundary="${inner}"`, "", `${WORD.preamble} again`, `--${inner}`],
      ...["Content-Type: text/plain", "", `the ${WORD.inner} of it`, `--${inner}`],
      ...["Content-Type: text/calendar; method=REQUEST; charset=utf-8", "", "BEGIN:VCALENDAR", "METHOD:REQUEST"],
      ...[`SUMMARY:${WORD.calendar}`, "END:VCALENDAR", `--${inner}--`, `--${boundary}`],
      ...[`Content-Type: application/pdf; name="${WORD.typeName}.pdf"`, "Content-Transfer-Encoding: base64"],
      ...[`Content-Description: ${WORD.description}`],
      ...[`Content-Disposition: attachment; filename="${WORD.fileName}.pdf"; filename*=utf-8''${WORD.fileName}.pdf`],
      ...["", Buffer.from(`an ${WORD.attachment} lies here`).toString("base64"), `--${boundary}--`, WORD.epilogue],
    ),
  });
}

type Left = { readonly data: Buffer; readonly clear: Buffer };
/** By project and kind. */
const left = new Map<string, Left>();

async function opened(one: RecordedTransaction): Promise<Left> {
  const kind = protection(one);
  const text = kind === "smime" ? await readSmime(one.data, "alice") : readPgp(one.data);
  return { data: one.data, clear: Buffer.from(text, "latin1") };
}

beforeAll(async () => {
  const upstream = await startUpstream();
  const rule = (project: string, subject: string) => `    - { project: ${project}, subject: ${subject} }`;
  const relay = await startRelay(
    [
      `upstream: { host: 127.0.0.1, port: ${upstream.port}, tls: off }`,
      "encryption:\n  rules:",
      ...[rule("KEEP", "keep"), rule("KEY", "issue-key"), rule("HIDE", "hide")],
      "smime: { keyStore: { file: alice.pem } }\npgp: { keyStore: { file: joe.gpg } }",
    ].join("\n"),
    { "alice.pem": fixtureBytes("smime/certs/alice.pem"), "joe.gpg": fixtureBytes("pgp/joe.gpg") },
  );
  try {
    for (const project of PROJECTS) await sendMail(relay.port, { to: [ALICE, JOE], message: mail(project) });
    for (const one of await upstream.waitFor(2 * PROJECTS.length, 30_000)) {
      const project = /^<JIRA\.10042\.(\w+)@/.exec(field(one.data, "Message-ID"))?.[1] ?? "";
      left.set(`${project} ${protection(one)}`, await opened(one));
    }
    expect(hunt({ log: Buffer.from(relay.output) }, Object.values(WORD))).toEqual([]);
  } finally {
    await relay.remove();
    await upstream.close();
  }
});

describe.each(["smime", "pgp"])("%s", (kind) => {
  const places: [string, ...Place[]][] = [
    ["CONF-11: subjects", "subject", "topic"],
    ["CONF-13: display names, as docs/TREATMENT.md says", "fromName", "toName"],
    ["CONF-14: file names, descriptions and boundaries", "fileName", "typeName", "description", "boundary"],
    ["CONF-15: text before, behind and between the parts", "preamble", "epilogue", "inner", "attachment"],
    ["CONF-16: a calendar invitation", "calendar", "contentClass"],
  ];
  describe.each(PROJECTS)("of project %s", (project) => {
    test.each(places)("%s are inside, and outside only where the mode leaves them", (_, ...these) => {
      const { data, clear } = left.get(`${project} ${kind}`)!;
      for (const place of these) {
        const isSeen = hunt({ data }, [WORD[place]]).length > 0;
        expect(isSeen, `${place} outside`).toBe(SEEN[project].includes(place));
        const isInside = hunt({ clear }, [WORD[place]]).length > 0;
        // with a subject that is kept only the Content fields and the body move inside
        expect(isInside || isSeen, `${place} inside`).toBe(true);
        if (project !== "KEEP") expect(isInside, `${place} inside`).toBe(true);
      }
    });

    test("the outer fields are those of the mode, without method, and each Content field is ours", () => {
      const { data } = left.get(`${project} ${kind}`)!;
      const head = data.subarray(0, data.indexOf("\r\n\r\n")).toString("latin1");
      expect(field(data, "Subject")).toContain(
        { KEEP: "[JIRA] (KEEP-1) =?utf-8", KEY: "[JIRA] (KEY-1)", HIDE: "[...]" }[project],
      );
      expect(head).not.toMatch(/method=|Content-Class|Content-Description|text\/calendar/i);
      expect(field(data, "Content-Type")).toMatch(/^(?:application\/pkcs7-mime|multipart\/encrypted); /);
    });

    test("CONF-17: of the hops our own alone is outside, and names no recipient", () => {
      const { data } = left.get(`${project} ${kind}`)!;
      expect(hunt({ data }, [WORD.hop, "10.1.2.3"])).toEqual([]);
      const hops = data.toString("latin1").match(/^Received: (?:.*\r\n)(?:[ \t].*\r\n)*/gm) ?? [];
      expect(hops).toHaveLength(1);
      expect(hops[0]).toMatch(/ by relay\.example\.com \(Sealpost\) with /);
      expect(hops[0]).not.toMatch(/\bfor\b|alice|joe/);
    });
  });
});
