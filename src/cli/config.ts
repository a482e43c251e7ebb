// sealpost config: the effective configuration, and the JSON Schema for editors.
import type { Command } from "commander";
import { Document, isScalar, visit } from "yaml";
import { isSecretFileKey } from "../config/files.ts";
import { jsonSchema } from "../config/outline.ts";
import {
  addCommand,
  EXIT,
  printJson,
  printLine,
  run,
  withConfiguration,
  type CommonOptions,
  type ExitCode,
} from "./run.ts";

export function register(program: Command): void {
  const config = program.command("config").description("show the effective configuration or its schema");
  addCommand(config, "print", "the effective configuration with secrets masked").action(run(print));
  addCommand(config, "schema", "JSON Schema of the configuration file, for editors").action(run(printSchema));
}

function print(options: CommonOptions): Promise<ExitCode> {
  return withConfiguration(options, ({ effective }) => {
    if (options.json === true) printJson(effective);
    else printLine(asYaml(effective).trimEnd());
    return EXIT.ok;
  });
}

/** What is printed can be read again: the file of a secret stands there, its content does not. */
function asYaml(effective: unknown): string {
  const document = new Document(effective, { version: "1.2", schema: "core" });
  visit(document, {
    Pair(_, { key, value }) {
      if (isScalar(key) && isScalar(value) && value.value !== null && isSecretFileKey(String(key.value)))
        value.comment = " [secret]";
    },
  });
  return document.toString({ lineWidth: 0 });
}

function printSchema(): ExitCode {
  printJson(jsonSchema());
  return EXIT.ok;
}
