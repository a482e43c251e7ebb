// A real Postfix of its own: configuration and queue in a scratch folder, stopped by its own folder. Needs root, as Postfix does.
import { execFile, execFileSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { freePort } from "./free-port.ts";

const run = promisify(execFile);

export type PostfixInstance = {
  readonly port: number;
  readonly folder: string;
  log(): string;
  stop(): Promise<void>;
};

export type PostfixPlan = {
  readonly main: Readonly<Record<string, string>>;
  /** Further lines of master.cf. */
  readonly master: readonly string[];
};

/** `plan` is asked with the folder, in whose `etc` it may have put files. */
export async function startInstance(plan: (folder: string) => PostfixPlan): Promise<PostfixInstance> {
  const folder = mkdtempSync(join(tmpdir(), "sealpost-postfix-"));
  chmodSync(folder, 0o755);
  const at = (name: string) => join(folder, name);
  for (const name of ["etc", "queue", "data"]) mkdirSync(at(name));
  chownSync(at("data"), userId("postfix"), 0);
  const port = await freePort();
  const { main, master } = plan(folder);
  const settings = { ...common(folder), ...main };
  writeFileSync(
    at("etc/main.cf"),
    Object.entries(settings)
      .map(([name, value]) => `${name} = ${value}\n`)
      .join(""),
  );
  writeFileSync(at("etc/master.cf"), `${[...daemons(port), ...master].join("\n")}\n`);
  const log = () => (existsSync(at("data/log")) ? readFileSync(at("data/log"), "utf8") : "");
  try {
    await run("postfix", ["-c", at("etc"), "start"]);
  } catch (cause) {
    throw new Error(`postfix does not start: ${log()}`, { cause });
  }
  return {
    ...{ port, folder, log },
    async stop() {
      await run("postfix", ["-c", at("etc"), "stop"]);
      rmSync(folder, { recursive: true });
    },
  };
}

function common(folder: string): Record<string, string> {
  return {
    compatibility_level: "3.6",
    queue_directory: `${folder}/queue`,
    data_directory: `${folder}/data`,
    maillog_file: `${folder}/data/log`,
    maillog_file_prefixes: folder,
    mydestination: "",
    inet_interfaces: "127.0.0.1",
    inet_protocols: "ipv4",
    mynetworks: "127.0.0.0/8",
    alias_maps: "",
    message_size_limit: "104857600",
  };
}

/** The daemons that receiving and passing on need, none in a chroot. */
function daemons(port: number): string[] {
  return [
    `127.0.0.1:${port} inet n - n - - smtpd`,
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "rewrite unix - - n - - trivial-rewrite",
    "bounce unix - - n - 0 bounce",
    "defer unix - - n - 0 bounce",
    "trace unix - - n - 0 bounce",
    "proxymap unix - - n - - proxymap",
    "error unix - - n - - error",
    "retry unix - - n - - error",
    "anvil unix - - n - 1 anvil",
    "scache unix - - n - 1 scache",
    "postlog unix-dgram n - n - 1 postlogd",
  ];
}

export const userId = (name: string) => Number(execFileSync("id", ["-u", name], { encoding: "utf8" }));
export const groupId = (name: string) => Number(execFileSync("id", ["-g", name], { encoding: "utf8" }));
