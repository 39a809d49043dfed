// Builds shared/http/static from the sources here. With --check, only says whether what stands there is current.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as sass from "sass";

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, "..", "..", "shared", "http", "static");
const govuk = join(here, "node_modules", "govuk-frontend");
const version = JSON.parse(readFileSync(join(govuk, "package.json"), "utf8")).version;
const notice = `/*! Contains govuk-frontend ${version}, MIT licence: see THIRD-PARTY.txt beside this file. */\n`;

const css = sass.compile(join(here, "src", "onestop.scss"), {
  style: "compressed",
  charset: true,
  loadPaths: [join(govuk, "dist")],
  quietDeps: true,
}).css;
const components = readFileSync(join(govuk, "dist", "govuk", "govuk-frontend.min.js"), "utf8");

const files = {
  "onestop.css": withNotice(css),
  // The source map stays behind, and a browser must not look for it.
  "govuk-frontend.min.js": notice + components.replace(/\/\/# sourceMappingURL=.*$/m, "").trimEnd() + "\n",
  "app.js": readFileSync(join(here, "src", "app.js"), "utf8"),
  "mark.svg": readFileSync(join(here, "src", "mark.svg"), "utf8"),
  "THIRD-PARTY.txt": readFileSync(join(here, "src", "THIRD-PARTY.txt"), "utf8"),
};

for (const [name, text] of Object.entries(files)) {
  if (/url\(|(?<!\^=")https?:\/\/(?!www\.w3\.org\/)/.test(text) && name !== "THIRD-PARTY.txt") {
    throw new Error(`${name} names something outside itself`);
  }
}
mkdirSync(out, { recursive: true });
const stale = Object.entries(files).filter(([name, text]) => read(join(out, name)) !== text);
if (process.argv.includes("--check")) {
  for (const [name] of stale) console.error(`${name} is not what its sources make: run npm run build`);
  process.exitCode = stale.length ? 1 : 0;
} else {
  for (const [name, text] of stale) writeFileSync(join(out, name), text);
  console.error(`${stale.length} of ${Object.keys(files).length} files changed in ${out}`);
}

function withNotice(text) {
  const mark = text.startsWith("\ufeff") ? "\ufeff" : "";
  return mark + notice + text.slice(mark.length).trimEnd() + "\n";
}

function read(path) {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return null;
    throw error;
  }
}
