// Environment: SEALPOST_<PATH> variables as values of the settings they name.
import { parseDocument } from "yaml";
import { nearest } from "./nearest.ts";
import { outline } from "./outline.ts";

export type Override = { readonly variable: string; readonly path: readonly string[]; readonly value: unknown };
export type VariableFault = { readonly variable: string; readonly message: string };
export type Environment = Readonly<Record<string, string | undefined>>;

const PREFIX = "SEALPOST_";
/** Kubernetes and Docker links set these for a service that is called sealpost: SEALPOST_PORT=tcp://…, SEALPOST_SERVICE_HOST. */
const SERVICE_LINK =
  /^SEALPOST_(?:.*_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP)(?:_(?:PROTO|PORT|ADDR))?)$/;

/**
 * The settings that the environment names, sections before what is in them. An unknown name is a fault: a misspelt one
 * must not be ignored.
 */
export function readEnvironment(env: Environment): {
  overrides: readonly Override[];
  faults: readonly VariableFault[];
} {
  const settings = settingsByVariable();
  const overrides: (Override & { order: number })[] = [];
  const faults: VariableFault[] = [];
  for (const [variable, text] of Object.entries(env)) {
    if (!variable.startsWith(PREFIX) || variable === "SEALPOST_CONFIG" || text === undefined) continue;
    const setting = settings.get(variable);
    if (setting === undefined) {
      if (!isServiceLink(variable, text)) faults.push({ variable, message: unknown(variable, settings) });
      continue;
    }
    const value = setting.isText ? textValue(text) : yamlValue(text);
    if (value === NOT_YAML)
      faults.push({ variable, message: "not valid YAML; write a value such as true, 8 or [a, b]" });
    else overrides.push({ variable, path: setting.path, value, order: setting.order });
  }
  for (const { variable } of overrides) {
    const other = variable.replace(/_FILE$/, "FILE");
    if (
      other !== variable &&
      overrides.some((one) => one.variable === other && settings.get(variable)?.isSecret === true)
    )
      faults.push({ variable, message: `given together with ${other}; keep one of them` });
  }
  return { overrides: overrides.sort((a, b) => a.order - b.order), faults };
}

type Setting = { path: readonly string[]; isText: boolean; isSecret: boolean; order: number };

/** `upstream.passwordFile` is SEALPOST_UPSTREAM_PASSWORD_FILE, and SEALPOST_UPSTREAM_PASSWORDFILE as well. */
export function settingsByVariable(): Map<string, Setting> {
  const settings = new Map<string, Setting>();
  outline().forEach(({ path, isText }, order) => {
    if (path.includes("*")) return;
    const name = PREFIX + path.join("_").toUpperCase();
    const isSecret = /.File$/.test(path.at(-1) ?? "");
    settings.set(name, { path, isText, isSecret, order });
    if (isSecret) settings.set(name.replace(/FILE$/, "_FILE"), { path, isText, isSecret, order });
  });
  return settings;
}

const NOT_YAML = Symbol("not YAML");

// text is taken as it is, so that [::1]:25, 007 and a*b need no quotes; empty, ~ and null are null as in YAML
function textValue(text: string): unknown {
  if (/^(?:|~|null)$/.test(text)) return null;
  return /^(["']).*\1$/s.test(text) ? yamlValue(text) : text;
}

function yamlValue(text: string): unknown {
  const document = parseDocument(text, { version: "1.2", schema: "core", merge: false, prettyErrors: false });
  if (document.errors.length > 0 || document.warnings.length > 0) return NOT_YAML;
  return document.toJS({ maxAliasCount: 0 }) as unknown;
}

function isServiceLink(variable: string, text: string): boolean {
  return SERVICE_LINK.test(variable) || (variable.endsWith("_PORT") && /^(?:tcp|udp):\/\//.test(text));
}

function unknown(variable: string, settings: ReadonlyMap<string, Setting>): string {
  if (settings.get(`${variable}_FILE`)?.isSecret === true)
    return `a secret is not given in the environment; put it into a file and name that in ${variable}_FILE`;
  // without the prefix, which would make every name look alike
  const meant = nearest(
    variable.slice(PREFIX.length),
    [...settings.keys()].map((name) => name.slice(PREFIX.length)),
  );
  return meant === undefined ? "no setting has this name" : `no setting has this name; did you mean ${PREFIX}${meant}?`;
}
