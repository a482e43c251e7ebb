// Peer: a relay that is measured, from its port to the sink behind it.

export type Peer = {
  readonly name: string;
  readonly port: number;
  /** Whom the mails of the load go to. */
  readonly recipient: string;
  stop(): Promise<void>;
};
