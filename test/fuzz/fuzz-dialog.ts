// FuzzDialog: one conversation with the door, what the client does apart from it, and how both are kept as text.

/** What the listener is set to, and how the client behaves besides what it says. */
export type Setup = {
  readonly lineEndings: "strict" | "normalize";
  readonly tls: "off" | "starttls";
  readonly isLoginRequired: boolean;
  /** Where the owner of the listener fails, for every message. */
  readonly fault: "none" | "begin" | "commit";
  /** The client speaks before it is greeted. */
  readonly isEarly: boolean;
  /** How the client goes: it ends its side, or the connection breaks. */
  readonly end: "half-close" | "break";
};

/** `segments` are octets as latin1; the client waits for the server to fall silent after each. */
export type FuzzDialog = {
  readonly setup: Setup;
  readonly segments: readonly string[];
  /** Where the octets are cut into pieces, as `cutAt` reads it. */
  readonly cuts: readonly number[];
};

export const MAX_MESSAGE_BYTES = 20_000;
export const MAX_RECIPIENTS = 3;
export const USER = { name: "jira", password: "s3cret" };
export const PLAIN_SETUP: Setup = {
  ...{ lineEndings: "strict", tls: "off", isLoginRequired: false },
  ...{ fault: "none", isEarly: false, end: "half-close" },
};

/** `# title`, `setup: {…}` with what differs from the plain one, `cuts: […]`, and a line `> octets` for each segment. */
export function written(title: string, { setup, segments, cuts }: FuzzDialog): string {
  const different = Object.entries(setup).filter(([name, value]) => PLAIN_SETUP[name as keyof Setup] !== value);
  const lines = segments.map((segment) => `> ${escaped(segment)}`);
  return [
    `# ${title}`,
    `setup: ${JSON.stringify(Object.fromEntries(different))}`,
    `cuts: ${JSON.stringify(cuts)}`,
    ...lines,
    "",
  ].join("\n");
}

/** All dialogs of a file of the corpus. */
export function read(text: string): { readonly title: string; readonly dialog: FuzzDialog }[] {
  return text
    .split(/^# /m)
    .filter((part) => part.trim() !== "")
    .map((part) => {
      const [title = "", ...lines] = part.split("\n");
      const json = (name: string) => lines.find((line) => line.startsWith(name))?.slice(name.length) ?? "null";
      const setup = { ...PLAIN_SETUP, ...(JSON.parse(json("setup: ")) as Partial<Setup>) };
      const cuts = JSON.parse(json("cuts: ")) as number[];
      const segments = lines.filter((line) => line.startsWith("> ")).map((line) => unescaped(line.slice(2)));
      return { title, dialog: { setup, segments, cuts } };
    });
}

function escaped(octets: string): string {
  const runs = octets
    .replace(/\\/g, "\\\\")
    .replace(/\r/g, "\\r")
    .replace(/\n/g, "\\n")
    .replace(/[^ -~]/g, (octet) => `\\x${octet.charCodeAt(0).toString(16).padStart(2, "0")}`);
  // long runs of one text stay readable: \{9000:x}
  return runs.replace(/((?:\\x..|\\.|[^\\]){1,6}?)\1{19,}/g, (all: string, one: string) =>
    one.includes("{") ? all : `\\{${all.length / one.length}:${one}}`,
  );
}

function unescaped(text: string): string {
  const names: Readonly<Record<string, string>> = { r: "\r", n: "\n", "\\": "\\" };
  return text
    .replace(/\\\{(\d+):((?:\\x..|\\.|[^\\}])+)\}/g, (_all, times: string, one: string) => one.repeat(Number(times)))
    .replace(/\\(?:x([0-9a-f]{2})|(.))/g, (_all, hex: string | undefined, name: string | undefined) =>
      hex === undefined ? names[name ?? ""]! : String.fromCharCode(parseInt(hex, 16)),
    );
}
