// The language in CodeMirror: colours, and words that complete. Both come from the package.
import { StreamLanguage, HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { autocompletion } from "@codemirror/autocomplete";
import { tags } from "@lezer/highlight";

// How a list shows what a word is; any other is a variable.
const SORTS = { statement: "keyword", word: "keyword", part: "property", argument: "property", scope: "namespace", primitive: "function", def: "function", objective: "class", param: "constant" };

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--keyword)", fontWeight: "600" },
  { tag: tags.comment, color: "var(--quiet)", fontStyle: "italic" },
  { tag: tags.string, color: "var(--string)" },
  { tag: tags.number, color: "var(--number)" },
  { tag: tags.operator, color: "var(--operator)" },
  { tag: tags.function(tags.variableName), color: "var(--function)" },
]);

// `words` are those of the language, for colours; `wordsAt(text, place)` asks which may stand at a place.
export function language(words, wordsAt) {
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
  const complete = async (context) => {
    const before = context.matchBefore(/[\w.]+/);
    if (!before && !context.explicit) return null;
    const { answer } = await wordsAt(context.state.doc.toString(), context.pos);
    const options = (answer ?? []).map(({ word, sort, meaning }, place) => ({
      label: word,
      type: SORTS[sort] ?? "variable",
      info: meaning || undefined,
      boost: place < 20 ? 20 - place : 0,
    }));
    return { from: before ? before.from : context.pos, options, validFor: /^[\w.]*$/ };
  };
  return [mode, syntaxHighlighting(colours), autocompletion({ override: [complete], activateOnTyping: true })];
}
