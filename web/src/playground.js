// The playground: an editor, and what the compiler says of the text in it.
import { EditorState } from "@codemirror/state";
import { EditorView, keymap, lineNumbers, highlightActiveLine, drawSelection } from "@codemirror/view";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { bracketMatching } from "@codemirror/language";
import { lintGutter, lintKeymap, setDiagnostics } from "@codemirror/lint";
import { Compiler } from "./compiler.js";
import { language } from "./language.js";
import { draw } from "./curve.js";
import { fromLink, toLink } from "./link.js";
import * as sliders from "./sliders.js";
import * as views from "./views.js";

const FIRST = "maspo", PAUSE = 250, LINT_PAUSE = 1200, LINT_LIMIT = 60_000, KEEP = "maspo-dsl:spec";
const at = (id) => document.getElementById(id);
const json = async (file) => (await fetch(new URL(file, import.meta.url))).json();

const compiler = new Compiler(new URL("worker.js", import.meta.url));
let linter = null, notice = "";
let shipped = [], params = {}, written = {}, findings = [], warnings = [], round = 0;
const latest = { summary: null, curves: null, other: null };

const text = () => editor.state.doc.toString();
const textOf = (name) => shipped.find((one) => one.name === name)?.text ?? "";
const say = (words) => {
  at("status").textContent = notice + words;
  notice = "";
};

// ---- the editor

let editor;

function started(words, first) {
  editor = new EditorView({
    parent: at("editor"),
    state: EditorState.create({
      doc: first,
      extensions: [
        lineNumbers(), history(), drawSelection(), highlightActiveLine(), bracketMatching(), lintGutter(),
        language(words, (text, at) => compiler.ask("complete", { text, at })),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ "aria-label": "spec", spellcheck: "false" }),
        keymap.of([...defaultKeymap, ...historyKeymap, ...lintKeymap]),
        EditorView.updateListener.of((update) => update.docChanged && changedText()),
      ],
    }),
  });
}

function replaceText(next) {
  editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: next } });
}

let pause = 0;
function changedText() {
  clearTimeout(pause);
  warnings = [];
  params = {};
  showOrigin();
  pause = setTimeout(look, PAUSE);
}

function markFindings() {
  const all = [...findings, ...warnings];
  const length = editor.state.doc.length;
  const marks = all.map((one) => ({
    from: Math.min(one.from, length),
    to: Math.min(Math.max(one.to, one.from), length),
    severity: one.severity,
    source: one.code,
    message: `${one.message}${one.hint ? `\n${one.hint}` : ""}`,
  }));
  editor.dispatch(setDiagnostics(editor.state, marks));
  at("problems").replaceChildren(...all.map(problem));
}

function problem(one) {
  const item = document.createElement("li");
  item.className = one.severity;
  const go = document.createElement("button");
  go.className = "textual";
  go.textContent = `${one.line}:${one.column}`;
  go.setAttribute("aria-label", `go to line ${one.line}, column ${one.column}`);
  go.addEventListener("click", () => {
    editor.dispatch({ selection: { anchor: Math.min(one.from, editor.state.doc.length) }, scrollIntoView: true });
    editor.focus();
  });
  const frame = document.createElement("pre");
  const line = editor.state.doc.line(Math.min(one.line, editor.state.doc.lines)).text;
  const width = Math.max(Math.min(one.to - one.from, line.length - one.column + 1), 1);
  frame.textContent = `${line}\n${" ".repeat(one.column - 1)}${"^".repeat(width)}`;
  const code = document.createElement("a");
  code.href = `errors.html#${one.code}`;
  code.textContent = one.code;
  item.append(go, " ", code, `: ${one.message}`, frame);
  if (one.hint) item.append(Object.assign(document.createElement("p"), { className: "hint", textContent: one.hint }));
  return item;
}

// ---- asking

async function look() {
  const mine = ++round, spec = text();
  localStorage.setItem(KEEP, spec);
  const wanted = () => mine === round;
  try {
    const { answer } = await compiler.ask("errors", { text: spec });
    if (!wanted()) return;
    findings = answer;
    markFindings();
    document.body.classList.toggle("stale", findings.length > 0);
    if (findings.length) return say(`${findings.length} ${findings.length === 1 ? "mistake" : "mistakes"}; the views show the last text without`);
    const found = await compiler.ask("summary", { text: spec, params: {} });
    if (!wanted() || !found.answer) return;
    written = Object.fromEntries(found.answer.parameters.map(({ name, value }) => [name, value]));
    params = Object.fromEntries(Object.entries(params).filter(([name]) => name in written));
    await show(mine);
    if (wanted()) lint(mine, spec);
  } catch (error) {
    failed(error);
  }
}

// The curve first, which a slider waits for, and what else there is unless a slider has moved on.
async function show(mine) {
  const given = { text: text(), params: changedParams() };
  const curves = await compiler.ask("curves", given);
  if (mine !== round) return;
  if (!curves.answer) return say(curves.diagnostics[0].message);
  latest.curves = curves.answer;
  at("coupled").textContent = curves.answer.note && `Here ${curves.answer.note}.`;
  if (again) return view(mine);
  const { answer: summary } = await compiler.ask("summary", given);
  if (mine !== round) return;
  latest.summary = summary;
  at("hash").textContent = summary.hash;
  sliders.show(at("sliders"), summary.parameters, written, moved);
  const settings = Object.entries(given.params).map(([name, value]) => ` params.${name}=${value}`).join("");
  at("override").textContent = settings ? `in a run: maspo-dsl train ${summary.name}.obj${settings}` : "";
  say(`${summary.name}: no mistakes`);
  await view(mine);
}

const changedParams = () => Object.fromEntries(Object.entries(params).filter(([name, value]) => value !== written[name]));

// A slider moves faster than the compiler answers: one question at a time, the next with the latest values.
let showing = false, again = false;
async function moved(name, value) {
  params[name] = value;
  again = true;
  if (showing) return;
  showing = true;
  try {
    while (again) {
      again = false;
      await show(round);
    }
  } catch (error) {
    failed(error);
  } finally {
    showing = false;
  }
}

// Python that ran out of its stack answers nothing more: another one takes its place.
function failed(error) {
  say(`the compiler failed on this text: ${error.message.split("\n").filter(Boolean).at(-1)}`);
  compiler.restart();
}

async function view(mine) {
  const other = at("against").value, spec = text(), given = { text: spec, params: changedParams() };
  const tab = document.querySelector('[role="tab"][aria-selected="true"]').getAttribute("aria-controls");
  if (tab === "curve" && latest.curves) {
    if (other && latest.other?.name !== other) {
      const { answer } = await compiler.ask("curves", { text: textOf(other), params: {} });
      latest.other = { name: other, curves: answer };
    }
    if (mine === round) draw(at("plot"), latest.curves, other ? latest.other.curves : null, other);
  }
  if (!latest.summary) return;
  if (tab === "formula") views.formula(at("formula"), latest.summary);
  if (tab === "lineage") views.lineage(at("lineage"), latest.summary, open);
  if (tab === "torch") {
    const { answer } = await compiler.ask("torch", given);
    if (mine === round && answer) views.torch(at("torch"), answer);
  }
  if (tab === "difference") {
    const found = other ? await compiler.ask("difference", { ...given, other }) : {};
    if (mine === round) views.difference(at("difference"), found.answer, other);
  }
}

// Warnings take seconds: a worker of their own looks for them, and is ended when the text has moved on.
function lint(mine, spec) {
  clearTimeout(lint.timer);
  lint.timer = setTimeout(async () => {
    if (mine !== round && text() !== spec) return;
    if (!linter) linter = new Compiler(new URL("worker.js", import.meta.url));
    else if (linter.busy) linter.restart();
    const mineLinter = linter;
    const stop = setTimeout(() => {
      if (!mineLinter.busy) return;
      mineLinter.restart();
      say(`${latest.summary?.name}: no mistakes; warnings take too long here, maspo-dsl check finds them`);
    }, LINT_LIMIT);
    try {
      const { answer } = await mineLinter.ask("warnings", { text: spec });
      if (text() !== spec || !answer) return;
      warnings = answer;
      markFindings();
      say(`${latest.summary?.name}: no mistakes, ${warnings.length || "no"} warning${warnings.length === 1 ? "" : "s"}`);
    } finally {
      clearTimeout(stop);
    }
  }, LINT_PAUSE);
}

// ---- controls

function open(name) {
  params = {};
  replaceText(textOf(name));
}

// Which shipped text it is, if it is one.
function showOrigin() {
  const now = text();
  at("shipped").value = shipped.find((one) => one.text === now)?.name ?? "";
}

function select(tab) {
  for (const one of document.querySelectorAll('[role="tab"]')) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", chosen);
    one.tabIndex = chosen ? 0 : -1;
    at(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  view(round).catch((error) => say(error.message));
}

function controls() {
  const tabs = [...document.querySelectorAll('[role="tab"]')];
  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener("click", () => select(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: tabs.length - 1 }[key];
      if (to === undefined) return;
      const next = tabs[(to + tabs.length) % tabs.length];
      next.focus();
      select(next);
    });
  }
  at("shipped").append(new Option("a text of your own", ""), ...shipped.map(({ name, meaning }) => Object.assign(new Option(name, name), { title: meaning })));
  at("against").append(...shipped.map(({ name }) => new Option(name, name)));
  at("shipped").addEventListener("change", () => at("shipped").value && open(at("shipped").value));
  at("against").addEventListener("change", () => view(round).catch((error) => say(error.message)));
  at("format").addEventListener("click", async () => {
    const { answer } = await compiler.ask("formatted", { text: text() });
    if (answer === undefined) say("a text with mistakes has no layout");
    else if (answer !== text()) replaceText(answer);
  });
  at("download").addEventListener("click", () => {
    const name = /^\s*objective\s+(\w+)/m.exec(text())?.[1] ?? "objective";
    const anchor = Object.assign(document.createElement("a"), { download: `${name}.obj`, href: URL.createObjectURL(new Blob([text()], { type: "text/plain" })) });
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 1000);
    say(`${name}.obj is saved; next: maspo-dsl check ${name}.obj`);
  });
  at("link").addEventListener("click", async () => {
    keepAddress(await toLink({ text: text(), params: changedParams(), against: at("against").value }));
    const copied = await navigator.clipboard?.writeText(location.href).then(() => true, () => false);
    say(copied ? "the link is copied; it holds the whole spec" : "the address now holds the whole spec");
  });
  at("theme").addEventListener("click", () => {
    const dark = getComputedStyle(document.documentElement).colorScheme.includes("dark");
    document.documentElement.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("maspo-dsl:theme", document.documentElement.dataset.theme);
  });
}

const keepAddress = (hash) => window.history.replaceState(null, "", hash);

async function opened() {
  try {
    const state = await fromLink(location.hash);
    if (state) return state;
  } catch (error) {
    notice = "the link cannot be read; ";
  }
  const named = new URLSearchParams(location.search).get("spec");
  return { text: textOf(named) || (named ? "" : localStorage.getItem(KEEP)) || textOf(FIRST), params: {}, against: "" };
}

async function main() {
  document.documentElement.dataset.theme = localStorage.getItem("maspo-dsl:theme") ?? "";
  const words = await json("words.json");
  shipped = await json("shipped.json");
  controls();
  const state = await opened();
  started(words, state.text);
  showOrigin();
  at("against").value = state.against;
  params = state.params;
  await compiler.ready;
  await look();
  document.body.dataset.ready = "yes";
}

window.addEventListener("hashchange", async () => {
  const state = await fromLink(location.hash).catch(() => null);
  if (!state || state.text === text()) return;
  replaceText(state.text);
  params = state.params;
  at("against").value = state.against;
});

main().catch((error) => say(`this page did not start: ${error.message}. It has to come from a web server: maspo-dsl playground.`));
