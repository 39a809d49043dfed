// What @asyncapi/parser finds in documents: node asyncapi.mjs FILE... -> a JSON list of lists, one of them a
// file, empty when it is content.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const told = [];
for (const path of process.argv.slice(2)) {
  const { diagnostics } = await new Parser().parse(readFileSync(path, "utf-8"));
  told.push(diagnostics.map(({ severity, code, path, message }) => ({ severity, code, path, message })));
}
console.log(JSON.stringify(told));
