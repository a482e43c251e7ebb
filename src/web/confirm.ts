// Confirm: the page behind the link that the owner of a key gets; only the button changes anything, for mail scanners follow links.
import type { FastifyInstance, FastifyReply } from "fastify";

/** As harvesting makes them: 32 octets in base64url. */
const TOKEN = /^[A-Za-z0-9_-]{43}$/;

/** `later`: it cannot be judged now whether the key may be used. `gone`: no key waits for this token, or it may not be used any more. */
export type Confirmed = "used" | "later" | "gone";

export function addConfirmation(server: FastifyInstance, confirm: (token: string) => Promise<Confirmed>): void {
  server.get<{ Params: { token: string } }>("/confirm/:token", (request, reply) =>
    TOKEN.test(request.params.token) ? page(reply, 200, QUESTION) : page(reply, 404, GONE),
  );
  // the token is the proof: there is no session that another site could use
  server.addContentTypeParser("application/x-www-form-urlencoded", (_request, body, done) => {
    body.resume();
    body.on("end", () => done(null, undefined));
  });
  server.post<{ Params: { token: string } }>("/confirm/:token", async (request, reply) => {
    const { token } = request.params;
    switch (TOKEN.test(token) ? await confirm(token) : "gone") {
      case "used":
        return page(reply, 200, USED);
      case "later":
        return page(reply, 503, LATER);
      case "gone":
        return page(reply, 404, GONE);
    }
  });
}

const QUESTION =
  "<h1>Use your new key?</h1>" +
  "<p>A signed mail in your name came with another key than the one that is used for you. If that mail was yours, confirm it: " +
  "from then on mail to you is encrypted with the new key. If it was not yours, close this page; nothing changes.</p>" +
  '<form method="post"><button>Yes, use the new key</button></form>';
const USED = "<h1>Your new key is used from now on.</h1>";
const LATER = "<h1>Your key cannot be checked now.</h1><p>Nothing has changed. Open the link again later.</p>";
const GONE = "<h1>This link is not valid, or not any more.</h1>";

function page(reply: FastifyReply, status: number, body: string): FastifyReply {
  return reply
    .code(status)
    .type("text/html; charset=utf-8")
    .headers({
      "Content-Security-Policy": "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
      "Referrer-Policy": "no-referrer",
    })
    .send(`<!doctype html><html lang="en"><meta charset="utf-8"><title>Sealpost</title>${body}</html>`);
}
