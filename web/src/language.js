// The language in CodeMirror: colours, and words that complete. What the words are comes from the package.
import { StreamLanguage, HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { autocompletion } from "@codemirror/autocomplete";
import { tags } from "@lezer/highlight";

const SORTS = { keyword: "keyword", part: "property", scope: "namespace", quantity: "variable", primitive: "function", def: "function" };

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--keyword)", fontWeight: "600" },
  { tag: tags.comment, color: "var(--quiet)", fontStyle: "italic" },
  { tag: tags.string, color: "var(--string)" },
  { tag: tags.number, color: "var(--number)" },
  { tag: tags.operator, color: "var(--operator)" },
  { tag: tags.function(tags.variableName), color: "var(--function)" },
]);

export function language(words) {
  const sorts = new Map();
  for (const { word, sort } of words) if (!sorts.has(word)) sorts.set(word, sort);
  const mode = StreamLanguage.define({
    name: "obj",
    token(stream) {
      if (stream.eatSpace()) return null;
      if (stream.match(/#.*/)) return "comment";
      if (stream.match(/"(?:[^"\\]|\\.)*"?/)) return "string";
      if (stream.match(/\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+/)) return "number";
      if (stream.match(/\|>|[-+*\/^<>=!]+/)) return "operator";
      const name = stream.match(/[A-Za-z_]\w*/);
      if (!name) return stream.next() && null;
      const sort = sorts.get(name[0]);
      if (sort === "keyword" || sort === "part") return "keyword";
      return sort === "primitive" || sort === "def" ? "variableName.function" : "variableName";
    },
    languageData: { commentTokens: { line: "#" } },
  });
  const known = [...new Map(words.map((row) => [row.word, row])).values()].map(({ word, sort, meaning }) => ({
    label: word,
    type: SORTS[sort],
    info: meaning || undefined,
  }));
  const complete = (context) => {
    const before = context.matchBefore(/\w+/);
    if (!before && !context.explicit) return null;
    const own = new Set(context.state.doc.toString().match(/(?<=(?:param|let|def|input)\s+)\w+/g));
    const options = [...known, ...[...own].map((label) => ({ label, type: "variable", boost: 5 }))];
    return { from: before ? before.from : context.pos, options, validFor: /^\w*$/ };
  };
  return [mode, syntaxHighlighting(colours), autocompletion({ override: [complete], activateOnTyping: true })];
}
