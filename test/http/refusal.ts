// What GET says of servers that are down, hang or lie, for an address that no sentence may hold.
import { expect } from "vitest";

/** The query of each test, which says for whom it was asked. */
export const SECRET = "ann%40example.com";

/** The message with which a GET is refused; it must not hold the query. */
export async function refusal(answer: Promise<unknown>): Promise<string> {
  const said = await answer.then(
    () => "an answer",
    (error: unknown) => (error as Error).message,
  );
  expect(said).not.toMatch(/search|ann|%40/);
  return said;
}
