// The whole site into a folder, from docs/, the package and this folder: `node build.mjs PYTHON [FOLDER]`.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { pages } from "./pages.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const python = process.argv[2] ?? "python3";
const out = resolve(process.argv[3] ?? join(here, "dist"));
const inModules = (...parts) => join(here, "node_modules", ...parts);

rmSync(out, { recursive: true, force: true });
mkdirSync(join(out, "pyodide"), { recursive: true });
execFileSync(python, [join(here, "pack.py"), out], { stdio: "inherit" });
await build({
  entryPoints: [join(here, "src/playground.js"), join(here, "src/worker.js")],
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  external: ["./pyodide/pyodide.mjs"],
  legalComments: "linked",
  logLevel: "warning",
});
for (const file of ["pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip", "pyodide-lock.json"]) cpSync(inModules("pyodide", file), join(out, "pyodide", file));
cpSync(inModules("katex/dist/katex.min.css"), join(out, "katex.css"));
cpSync(inModules("katex/dist/fonts"), join(out, "fonts"), { recursive: true, filter: (file) => !/\.(ttf|woff)$/.test(file) });
cpSync(join(here, "src/style.css"), join(out, "style.css"));
cpSync(join(here, "src/playground.html"), join(out, "index.html"));
cpSync(join(here, "../docs/images"), join(out, "images"), { recursive: true });
const gallery = JSON.parse(readFileSync(join(out, "gallery.json"), "utf8"));
for (const [file, text] of pages(join(here, "../docs"), gallery)) writeFileSync(join(out, file), text);
rmSync(join(out, "gallery.json"));
console.log(`the site is in ${out}; maspo-dsl playground opens it`);
