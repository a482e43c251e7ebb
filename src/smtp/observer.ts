// What a listener tells the log and the metrics; none of it holds content or a password.
import type { Envelope } from "./intake.ts";

export type RefusedPeer = "network" | "connections" | "connections-per-address" | "tls-handshake" | "early-talker";

export type ListenerObserver = {
  onSessionOpened(session: { readonly sessionId: string; readonly peerAddress: string }): void;
  onSessionClosed(session: {
    readonly sessionId: string;
    readonly peerAddress: string;
    readonly durationMs: number;
  }): void;
  /** A peer that got no session, or lost it before it could say anything. */
  onSessionRefused(refusal: {
    readonly peerAddress: string;
    readonly reason: RefusedPeer;
    readonly setting?: string;
  }): void;
  /** `user` is undefined for a name that is not one of ours. */
  onAuthFailed(failure: {
    readonly sessionId: string;
    readonly peerAddress: string;
    readonly user: string | undefined;
  }): void;
  onMessageAccepted(message: {
    readonly sessionId: string;
    readonly queueId: string;
    readonly envelope: Envelope;
    readonly sizeBytes: number;
  }): void;
  /** A MAIL, RCPT, DATA or a whole message was refused; `cause` is the error behind a temporary refusal. */
  onMessageRefused(refusal: {
    readonly sessionId: string;
    readonly code: number;
    readonly reason: string;
    readonly cause?: unknown;
  }): void;
  /** A fault of ours: the session it belonged to was closed with 421. */
  onFault(error: unknown): void;
};
