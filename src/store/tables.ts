// Tables: the rows as they are stored; the schema itself is in migrations.ts.
import type { Generated } from "kysely";

export type Tables = {
  meta: { name: string; value: string };
  messages: MessageRow;
  bodies: { seq: number; sealed: Uint8Array };
  recipients: RecipientRow;
  reports: { key: string; sent_at: number };
  personal_keys: {
    address_key: string;
    kind: string;
    fingerprint: string;
    address: string;
    origin: string;
    bytes: Uint8Array;
    added_at: number;
    signed_at: number | null;
    /** What came along with a certificate, JSON. */
    extras: Uint8Array | null;
  };
  harvested_keys: {
    id: Generated<number>;
    state: string;
    address_key: string;
    address: string;
    domain: string;
    kind: string;
    fingerprint: string;
    bytes: Uint8Array;
    extras: Uint8Array | null;
    signed_at: number;
    seen_at: number;
    expires_at: number;
    evidence: string;
    token_digest: string | null;
  };
  seen_users: { address_key: string; seen_at: number };
  tries: { id: string; tries: number; at: number };
  changes: {
    id: Generated<number>;
    what: string;
    address: string | null;
    source: string | null;
    at: number;
    kind: string | null;
    fingerprint: string | null;
    reason: string | null;
  };
  cache_epochs: { source: string; epoch: number };
  cached_keys: {
    source: string;
    kind: string;
    settings: string;
    address_key: string;
    epoch: number;
    asked_at: number;
    until: number;
    /** Null: there is none. */
    keys: Uint8Array | null;
  };
};

export type MessageRow = {
  seq: Generated<number>;
  id: string;
  route: string;
  class: string;
  /** "" is the null reverse-path. */
  reverse_path: string;
  smtp_utf8: number;
  is_8bit: number;
  accepted_at: number;
  size: number;
  /** 1: the sealed body is a file beside the database. */
  in_file: number;
  /** The earliest next attempt of a waiting recipient; null when all are final. */
  due_at: number | null;
  finished_at: number | null;
};

export type RecipientRow = {
  seq: number;
  idx: number;
  address: string;
  address_key: string;
  notify: string | null;
  state: string;
  attempts: number;
  next_attempt_at: number | null;
  held_since: number | null;
  last_reply: string;
  treatment: string | null;
};
