// Fault: one thing that is wrong with the configuration, where it stands, and how it is written.

/** Where a value stands: a place in the file (both counted from 1) or an environment variable. */
export type Place =
  { readonly file: string; readonly line: number; readonly column: number } | { readonly variable: string };

/** `path` names the setting (`upstream.host`); it is empty when the fault is about the file as a whole. */
export type Fault = { readonly place: Place; readonly path: string; readonly message: string };

/** `FILE:LINE:COLUMN: path.to.key: what is wrong, what is allowed`, or `SEALPOST_X: …` for the environment. */
export function faultLine({ place, path, message }: Fault): string {
  const where = "variable" in place ? place.variable : `${place.file}:${place.line}:${place.column}`;
  return [where, ...(path === "" ? [] : [path]), message].join(": ");
}

export type Path = readonly (string | number)[];

/** `["outbound", "users", 0, "name"]` → `outbound.users[0].name`; a key that is no plain word stands in quotes. */
export function pathText(path: Path): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === "number") return `${text}[${step}]`;
    const name = /^[\w-]+$/.test(step) ? step : JSON.stringify(step);
    return text === "" ? name : `${text}.${name}`;
  }, "");
}
