// What becomes of each recipient, seen from outside: type modes, fallbacks, rules and exemptions.
import { describe, expect, test } from "vitest";
import { expectArrived, field, protection, readPgp, readSmime } from "./arrived.ts";
import { issueMail, sendMail } from "./jira.ts";
import { KEY_STORES, keyStoreFiles, queueStates, stage } from "./stage.ts";

const [ALICE, QUINN, JOE, NOBODY] = ["alice@example.com", "quinn@example.com", "joe@example.org", "nobody@example.com"];

describe("type modes and the keys there are", () => {
  const modes: readonly [string, readonly string[]][] = [
    ["smime-only", ["smime", "smime", "clear", "clear"]],
    ["smime-preferred", ["smime", "smime", "pgp", "clear"]],
    ["pgp-preferred", ["pgp", "smime", "pgp", "clear"]],
    ["pgp-only", ["pgp", "clear", "pgp", "clear"]],
  ];
  test.each(modes)("%s: both kinds, S/MIME only, OpenPGP only and none become %s", async (type, expected) => {
    const { relay, upstream } = await stage(`${KEY_STORES}\nencryption: { type: ${type}, fallback: allow }`);
    const to = [ALICE, QUINN, JOE, NOBODY];
    const message = issueMail("1", { to: to.join(", "), text: "The code is 4711." });
    expect(await sendMail(relay.port, { to, message })).toMatch(/^250 /);
    await expectArrived(
      upstream,
      to.map((address, index) => `${address} ${expected[index] ?? ""}`),
    );
    for (const { rcptTo, data, ...one } of upstream.transactions) {
      expect(field(data, "Message-ID")).toBe("<JIRA.10042.1@jira.example.com>");
      const kind = protection({ rcptTo, data, ...one });
      expect(data.includes("4711"), `${rcptTo.join()} gets ${kind}`).toBe(kind === "clear");
      if (kind === "pgp") expect(readPgp(data)).toContain("The code is 4711.");
      for (const name of ["alice", "quinn"].filter((owner) => rcptTo.includes(`${owner}@example.com`)))
        if (kind === "smime") expect(await readSmime(data, name)).toContain("The code is 4711.");
    }
    expect(upstream.violations).toEqual([]);
  });
});

describe("rules", () => {
  test("the first rule that matches a recipient or the project overrides, everybody else gets the fallback", async () => {
    const { relay, upstream } = await stage(
      [
        KEY_STORES,
        "encryption:",
        "  fallback: block",
        "  hold: 0",
        "  rules:",
        '    - { recipients: ["*@internal.example.com"], fallback: allow }',
        "    - { project: OPEN, fallback: allow }",
        "    - { project: SEC, subject: hide }",
      ].join("\n"),
    );
    const inside = "someone@internal.example.com";
    await sendMail(relay.port, { to: [inside, NOBODY, ALICE], message: issueMail("1", { to: ALICE }) });
    await expectArrived(upstream, [`${inside} clear`, `${ALICE} smime`, "jira@example.com notice"]);
    const hidden = upstream.transactions.find(({ rcptTo }) => rcptTo.includes(ALICE));
    expect(field(hidden!.data, "Subject")).toBe("[...]");
    expect(await readSmime(hidden!.data, "alice")).toContain("Subject: [JIRA] (SEC-42) Door codes");

    const open = issueMail("2", { fields: { Subject: "[JIRA] (OPEN-1) for SEC-42" } });
    await sendMail(relay.port, { to: [NOBODY], message: open });
    await upstream.until(() => upstream.transactions.some(({ rcptTo }) => rcptTo.includes(NOBODY)));
  });

  test("plusAddress strip uses the key of the address without its tag, exact does not", async () => {
    const tagged = "alice+jira@example.com";
    const strip = await stage(`${KEY_STORES}\nencryption: { plusAddress: strip, fallback: allow, type: pgp-only }`);
    const exact = await stage(`${KEY_STORES}\nencryption: { plusAddress: exact, fallback: allow, type: pgp-only }`);
    for (const { relay } of [strip, exact])
      await sendMail(relay.port, { to: [tagged], message: issueMail("1", { to: tagged }) });
    await expectArrived(exact.upstream, [`${tagged} clear`]);
    await expectArrived(strip.upstream, [`${tagged} pgp`]);
    expect(readPgp(strip.upstream.transactions[0]!.data)).toContain("Joe commented.");
  });

  test("toSender encrypts to the From address as well, without it the sender cannot read it", async () => {
    const fields = { From: "Quinn <quinn@example.com>" };
    for (const toSender of [true, false]) {
      const { relay, upstream } = await stage(`${KEY_STORES}\nencryption: { toSender: ${toSender} }`);
      await sendMail(relay.port, { to: [ALICE], message: issueMail("1", { fields }) });
      await expectArrived(upstream, [`${ALICE} smime`]);
      const { data } = upstream.transactions[0]!;
      expect(await readSmime(data, "alice")).toContain("Joe commented.");
      if (toSender) expect(await readSmime(data, "quinn")).toContain("Joe commented.");
      else await expect(readSmime(data, "quinn")).rejects.toThrow("openssl exits");
    }
  });
});

describe("CONF-28: recovery mail", () => {
  const link = "https://jira.example.com/secure/ResetPassword!default.jspa?os_username=alice&token=8f2c";
  const fields = { Subject: "[JIRA] Account password", "Message-ID": "<123.4.1764@jira>", "In-Reply-To": "" };

  test("exempt: a password reset goes in clear, an issue mail that quotes its link is encrypted", async () => {
    const { relay, upstream } = await stage(`${KEY_STORES}\nencryption: { recoveryMail: exempt }`);
    const reset = issueMail("1", { fields, text: `Reset your password: ${link}` });
    await sendMail(relay.port, { to: [ALICE], message: reset });
    await expectArrived(upstream, [`${ALICE} clear`]);
    const quoted = issueMail("2", { text: `Somebody wrote: ${link}` });
    await sendMail(relay.port, { to: [ALICE], message: quoted });
    // what a user can write into an issue with the other marks of a recovery mail: still an issue by its subject
    const pretended = issueMail("3", { fields: { ...fields, Subject: "[JIRA] (SEC-42) password" }, text: link });
    await sendMail(relay.port, { to: [ALICE], message: pretended });
    const two = issueMail("4", { fields, to: `${ALICE}, ${QUINN}`, text: link });
    await sendMail(relay.port, { to: [ALICE, QUINN], message: two });
    await expectArrived(upstream, [
      `${ALICE} clear`,
      ...[ALICE, ALICE, ALICE, QUINN].map((address) => `${address} smime`),
    ]);
  });

  test("encrypt: a password reset is encrypted like everything else", async () => {
    const { relay, upstream } = await stage(KEY_STORES);
    await sendMail(relay.port, { to: [ALICE], message: issueMail("1", { fields, text: link }) });
    await expectArrived(upstream, [`${ALICE} smime`]);
    expect(await queueStates(relay)).toEqual([`${ALICE} delivered`]);
  });
});

test("a hidden recipient gets a ciphertext of its own that names no other reader", async () => {
  const { relay, upstream } = await stage(KEY_STORES, keyStoreFiles());
  await sendMail(relay.port, { to: [ALICE, QUINN], message: issueMail("1", { to: ALICE }) });
  await expectArrived(upstream, [`${ALICE} smime`, `${QUINN} smime`]);
  const [first, second] = upstream.transactions;
  expect([first!.rcptTo.length, second!.rcptTo.length]).toEqual([1, 1]);
  const toAlice = upstream.transactions.find(({ rcptTo }) => rcptTo.includes(ALICE))!;
  await expect(readSmime(toAlice.data, "quinn")).rejects.toThrow("openssl exits");
});
