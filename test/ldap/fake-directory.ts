// A directory that misbehaves on demand: answers as a script says, counts what came, on a free port of 127.0.0.1.
import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { ServerCertificate } from "../authority.ts";

const OPERATIONS = new Map([
  [0x60, "bind"],
  [0x42, "unbind"],
  [0x63, "search"],
  [0x77, "starttls"],
]);

export type FakeRequest = {
  readonly operation: string;
  readonly id: number;
  /** 1 for the first connection. */
  readonly connection: number;
  readonly isInTls: boolean;
  /** To write to beside the answer. */
  readonly socket: Socket;
  /** The whole message, with names and values in it. */
  readonly text: string;
};

/** Octets to send; `hang` sends nothing, `drop` closes; undefined answers as a directory that holds bob and nobody else. */
export type FakeAnswer = Buffer | "hang" | "drop" | undefined;

export type FakeDirectory = {
  readonly port: number;
  readonly requests: readonly FakeRequest[];
  readonly openSockets: ReadonlySet<Socket>;
  /** Resolves once `isThere` holds; looked at whenever something happens. */
  until(isThere: () => boolean): Promise<void>;
  close(): Promise<void>;
};

export async function fakeDirectory(
  script: (request: FakeRequest) => FakeAnswer,
  options: { certificate?: ServerCertificate; greet?: (socket: Socket) => void } = {},
): Promise<FakeDirectory> {
  const requests: FakeRequest[] = [];
  const openSockets = new Set<Socket>();
  const watchers = new Set<() => void>();
  const changed = () => watchers.forEach((look) => look());
  let connections = 0;

  const serve = (socket: Socket, connection: number, isInTls: boolean) => {
    let bytes: Buffer = Buffer.alloc(0);
    socket.on("error", () => undefined);
    const read = (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      for (let length = lengthOf(bytes); length <= bytes.length; length = lengthOf(bytes)) {
        const request = requestIn(bytes.subarray(0, length), { connection, isInTls, socket });
        bytes = bytes.subarray(length);
        requests.push(request);
        answer(request);
        changed();
      }
    };
    const answer = (request: FakeRequest) => {
      const own = script(request);
      if (own === "drop") socket.destroy();
      else if (own !== "hang") socket.write(own ?? usual(request));
      if (own !== undefined || request.operation !== "starttls") return;
      socket.off("data", read);
      const { key, cert } = options.certificate!;
      serve(new TLSSocket(socket, { isServer: true, key, cert }), connection, true);
    };
    socket.on("data", read);
  };

  const server = createServer((socket) => {
    connections += 1;
    openSockets.add(socket);
    socket.on("close", () => {
      openSockets.delete(socket);
      changed();
    });
    options.greet?.(socket);
    serve(socket, connections, false);
    changed();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    requests,
    openSockets,
    until: (isThere) =>
      new Promise((resolve) => {
        const look = () => {
          if (!isThere()) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        look();
      }),
    async close() {
      openSockets.forEach((socket) => socket.destroy());
      server.close();
      await once(server, "close");
    },
  };
}

function usual({ operation, id, text }: FakeRequest): Buffer {
  if (operation === "bind") return result(id, 0x61);
  if (operation === "starttls") return result(id, 0x78);
  if (operation === "unbind") return Buffer.alloc(0);
  return text.includes("bob@") ? Buffer.concat([entry(id, "uid=bob", BOB), result(id, 0x65)]) : result(id, 0x65);
}

export const BOB = { mail: ["bob@example.com"] };

/** A SearchResultEntry. */
export function entry(
  id: number,
  dn: string,
  attributes: Readonly<Record<string, readonly (string | Buffer)[]>>,
): Buffer {
  const list = Object.entries(attributes).map(([name, values]) =>
    ber(0x30, ber(0x04, name), ber(0x31, ...values.map((value) => ber(0x04, value)))),
  );
  return message(id, 0x64, ber(0x04, dn), ber(0x30, ...list));
}

/** BindResponse 0x61, SearchResultDone 0x65 or ExtendedResponse 0x78. */
export function result(id: number, tag: number, code = 0, text = "", referral: readonly string[] = []): Buffer {
  const uris = referral.map((uri) => ber(0x04, uri));
  const parts = [ber(0x0a, Buffer.from([code])), ber(0x04, ""), ber(0x04, text)];
  return message(id, tag, ...parts, ...(uris.length > 0 ? [ber(0xa3, ...uris)] : []));
}

export function reference(id: number, ...uris: readonly string[]): Buffer {
  return message(id, 0x73, ...uris.map((uri) => ber(0x04, uri)));
}

export function message(id: number, tag: number, ...parts: readonly Buffer[]): Buffer {
  return ber(0x30, ber(0x02, Buffer.from([id])), ber(tag, ...parts));
}

/** Lengths in four octets, as Active Directory writes them. */
export function ber(tag: number, ...contents: readonly (Buffer | string)[]): Buffer {
  const content = Buffer.concat(contents.map((one) => (typeof one === "string" ? Buffer.from(one) : one)));
  const header = Buffer.from([tag, 0x84, 0, 0, 0, 0]);
  header.writeUInt32BE(content.length, 2);
  return Buffer.concat([header, content]);
}

/** Of a request as ldapts writes it: lengths in one to three octets. What is none counts as one. */
function lengthOf(bytes: Buffer): number {
  if (bytes.length > 0 && bytes[0] !== 0x30) return bytes.length;
  const first = bytes[1] ?? Infinity;
  if (first < 0x80) return 2 + first;
  const octets = first - 0x80;
  return bytes.length < 2 + octets || octets > 4 ? Infinity : 2 + octets + bytes.readUIntBE(2, octets);
}

function requestIn(bytes: Buffer, at: Pick<FakeRequest, "connection" | "isInTls" | "socket">): FakeRequest {
  if (bytes[0] !== 0x30) return { operation: "unknown", id: 0, text: bytes.toString("latin1"), ...at };
  const start = (bytes[1] ?? 0) < 0x80 ? 2 : 2 + ((bytes[1] ?? 0) - 0x80);
  const idLength = bytes[start + 1] ?? 0;
  const operation = OPERATIONS.get(bytes[start + 2 + idLength] ?? 0) ?? "unknown";
  return { operation, id: bytes.readUIntBE(start + 2, idLength), text: bytes.toString("latin1"), ...at };
}
