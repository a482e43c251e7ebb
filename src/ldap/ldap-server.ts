// LDAP server: one shared, bound connection to one server, made when it is needed and never carried on in clear.
import type { SecureContext } from "node:tls";
import type { Clock } from "../clock.ts";
import type { LdapSearch, LdapServer, LdapSettings } from "./ldap-directory.ts";
import { openLdapConnection, type LdapConnection } from "./ldap-connection.ts";
import { lateFault, LdapFault, serverOf } from "./ldap-fault.ts";
import { trustOf } from "./ldap-socket.ts";
import { unlessAborted } from "../unless-aborted.ts";

export type { LdapEntry, LdapSearch, LdapServer, LdapSettings } from "./ldap-directory.ts";

/** `deadlineMs` is for connecting, binding and searching together; an unused connection is closed after `idleMs`. */
export type LdapLimits = { readonly deadlineMs: number; readonly idleMs: number };

const LIMITS: LdapLimits = { deadlineMs: 5_000, idleMs: 60_000 };

/** Nothing is connected before the first search. A search that the end of a reused connection caught is tried once more. */
export function ldapServer(settings: LdapSettings, clock: Clock, limits: LdapLimits = LIMITS): LdapServer {
  const closing = new AbortController();
  let trust: SecureContext | undefined;
  let live: LdapConnection | undefined;
  let opening: Promise<LdapConnection> | undefined;
  let idle = new AbortController();
  let inFlight = 0;

  const open = async () => {
    const signal = AbortSignal.any([closing.signal, AbortSignal.timeout(limits.deadlineMs)]);
    live = await openLdapConnection(settings, () => (trust ??= trustOf(settings)), signal);
    return live;
  };
  const take = async (): Promise<{ connection: LdapConnection; isReused: boolean }> => {
    if (closing.signal.aborted) throw closing.signal.reason as LdapFault;
    if (live !== undefined && live.fault === undefined) return { connection: live, isReused: true };
    opening ??= open().finally(() => (opening = undefined));
    return { connection: await opening, isReused: false };
  };
  const closeWhenIdle = async () => {
    idle = new AbortController();
    const { signal } = idle;
    await clock.sleep(limits.idleMs, signal);
    if (!signal.aborted) live?.end(new LdapFault("cut", `${serverOf(settings)} was not needed any more`));
  };

  const late = () => lateFault(settings);
  const attempt = async (search: LdapSearch, deadline: AbortSignal, giveUp: AbortSignal) => {
    const { connection, isReused } = await unlessAborted(take(), giveUp, late);
    // the connection has to go with an answer that never came, whether or not the caller still waits
    const end = () => connection.end(late());
    deadline.addEventListener("abort", end, { once: true });
    const asked = connection.search(search).finally(() => deadline.removeEventListener("abort", end));
    try {
      return { entries: await unlessAborted(asked, giveUp, late) };
    } catch (fault) {
      // the connection ended under it, for a reason that another connection may not have
      const isCut =
        fault === connection.fault && (connection.fault?.kind === "cut" || connection.fault?.kind === "time-out");
      return { fault, mayTryAgain: isCut && isReused && !giveUp.aborted };
    }
  };

  return {
    access: accessOf(settings),
    async search(search, signal) {
      idle.abort();
      inFlight += 1;
      try {
        const deadline = AbortSignal.timeout(limits.deadlineMs);
        const giveUp = AbortSignal.any([signal, deadline]);
        let outcome = await attempt(search, deadline, giveUp);
        if ("fault" in outcome && outcome.mayTryAgain) outcome = await attempt(search, deadline, giveUp);
        if ("fault" in outcome) throw outcome.fault;
        return outcome.entries;
      } finally {
        inFlight -= 1;
        if (inFlight === 0 && !closing.signal.aborted) void closeWhenIdle();
      }
    },
    async close() {
      const fault = new LdapFault("other", `the connection to ${serverOf(settings)} is closed`);
      closing.abort(fault);
      idle.abort();
      await opening?.catch(() => undefined);
      live?.end(fault);
      await live?.closed;
    },
  };
}

function accessOf({ user, tls }: LdapSettings): string {
  const who = user === null ? "anonymous" : `bound as ${user}`;
  return `${who}, ${tls === "off" ? "in clear" : "TLS verified"}`;
}
