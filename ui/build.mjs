// Builds broker_mesos/web/static from src: `make ui`. The same sources give the same bytes on every machine.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join } from "node:path";

const here = fileURLToPath(new URL(".", import.meta.url));
const target = process.argv[2] ?? join(here, "..", "broker_mesos", "web", "static");
const assets = join(target, "assets");

const options = {
  absWorkingDir: here,
  outdir: assets,
  entryNames: "[name]-[hash]",
  chunkNames: "[name]-[hash]",
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  jsx: "automatic",
  jsxImportSource: "preact",
  charset: "utf8",
  legalComments: "none",
  metafile: true,
  write: false,
  logLevel: "warning",
};
// Charts, and pages but the first, are loaded when they are shown. The worker is one file by itself.
const app = await build({ ...options, entryPoints: { app: "src/main.tsx" }, splitting: true });
const worker = await build({ ...options, entryPoints: { stream: "src/worker.ts" } });
const outputs = [...app.outputFiles, ...worker.outputFiles];
const inputs = [app, worker].flatMap((each) => Object.keys(each.metafile.inputs));

rmSync(target, { recursive: true, force: true });
mkdirSync(assets, { recursive: true });
const files = {};
const named = {};
for (const file of outputs) {
  const name = file.path.split("/").at(-1);
  writeFileSync(join(assets, name), file.contents);
  files[`assets/${name}`] = createHash("sha256").update(file.contents).digest("hex");
  named[name.replace(/-[A-Z0-9]{8}\./, ".")] = name;
}
// Files that the first one imports are asked for with it, and not when it has arrived.
const [, first] = Object.entries(app.metafile.outputs).find(([, each]) => each.entryPoint === "src/main.tsx");
const preloads = first.imports
  .filter((each) => each.kind === "import-statement")
  .map((each) => `<link rel="modulepreload" href="/ui/assets/${each.path.split("/").at(-1)}">`)
  .sort();
const page = readFileSync(join(here, "src", "index.html"), "utf8").replace(/{{([a-z.]+)}}/g, (_, name) => {
  if (name === "preloads") return preloads.join("\n");
  if (!(name in named)) throw new Error(`index.html names ${name}, which is not built`);
  return `/ui/assets/${named[name]}`;
});
writeFileSync(join(target, "index.html"), page);
files["index.html"] = createHash("sha256").update(page).digest("hex");

const icon = readFileSync(join(here, "src", "icon.svg"));
writeFileSync(join(target, "icon.svg"), icon);
files["icon.svg"] = createHash("sha256").update(icon).digest("hex");

// The licences of all packages whose code is in the bundle, as they demand.
const bundled = new Set();
for (const input of inputs) {
  const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
  if (found) bundled.add(found[1]);
}
let licences = "The dashboard contains code of these packages.\n";
for (const name of [...bundled].sort()) {
  const folder = join(here, "node_modules", name);
  const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  const file = readdirSync(folder).find((each) => /^licen[cs]e/i.test(each));
  licences += `\n${"-".repeat(80)}\n${name} ${version} (${license})\n\n`;
  if (file) licences += readFileSync(join(folder, file), "utf8").trim().replace(/\r/g, "") + "\n";
}
writeFileSync(join(target, "licences.txt"), licences);
files["licences.txt"] = createHash("sha256").update(licences).digest("hex");

const ordered = Object.fromEntries(Object.entries(files).sort(([a], [b]) => (a < b ? -1 : 1)));
writeFileSync(join(target, "manifest.json"), JSON.stringify({ files: ordered }, null, 2) + "\n");
