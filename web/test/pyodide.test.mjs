// The archive in Pyodide under node: what ships has the hashes that it has natively. `npm test`, after `make site`.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { loadPyodide } from "pyodide";

const web = join(dirname(fileURLToPath(import.meta.url)), "..");
const native = `import json, maspo_dsl; print(json.dumps({n: maspo_dsl.load(n).hash for n in maspo_dsl.shipped()}))`;

test("hashes, formulas and curves of everything that ships", async () => {
  const command = process.env.MASPO_DSL ?? join(web, "../.venv/bin/maspo-dsl");
  const hashes = JSON.parse(execFileSync(join(dirname(command), "python"), ["-c", native], { encoding: "utf8" }));
  const python = await loadPyodide();
  const { major, minor } = python.pyimport("sys").version_info;
  python.unpackArchive(new Uint8Array(readFileSync(join(web, "dist/python.zip"))), "zip", { extractDir: `/lib/python${major}.${minor}/site-packages` });
  const answer = python.pyimport("maspo_dsl.playground.answers").answer;
  const ask = (question, given) => JSON.parse(answer(question, JSON.stringify(given))).answer;
  const shipped = ask("shipped", {});
  assert.deepEqual(shipped.map(({ name }) => name), Object.keys(hashes));
  for (const { name, text } of shipped) {
    const { hash, formula } = ask("summary", { text, params: {} });
    assert.equal(hash, hashes[name], name);
    assert.match(formula, /^\\begin\{aligned\}/);
    const { curves, why } = ask("curves", { text, params: {}, olds: [0.5] });
    assert.ok(why || curves.some(({ weights }) => weights.some(Boolean)), name);
  }
});
