// Pages of docs/ as HTML: formulas set, specs with a link that opens them in the playground, links among them kept.
import { readFileSync, readdirSync } from "node:fs";
import { deflateRawSync } from "node:zlib";
import { join } from "node:path";
import MarkdownIt from "markdown-it";
import anchors from "markdown-it-anchor";
import katex from "katex";

// In the order of a reader; a page that is not named here follows.
const ORDER = ["tutorial", "playground", "language", "objectives", "errors", "training", "ablations", "comparing", "verify", "hosts", "from_hidden", "benchmarks", "maspo-study", "glossary", "design", "proof", "full"];
const escaped = (text) => text.replace(/[&<>"]/g, (letter) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[letter]);
const set = (latex, displayMode) => katex.renderToString(latex, { displayMode, throwOnError: false, strict: "ignore", output: "html" });

export const slug = (text) => text.trim().toLowerCase().replace(/[^\p{L}\p{N}\s_-]/gu, "").replace(/\s/g, "-");

export function link(text) {
  const state = JSON.stringify({ text, params: {}, against: "" });
  return `index.html#s=${deflateRawSync(Buffer.from(state)).toString("base64url")}`;
}

// `$…$` within a line, not in code.
function mathInline(state, silent) {
  const { src, pos } = state;
  if (src[pos] !== "$" || /\s/.test(src[pos + 1] ?? " ")) return false;
  const end = src.indexOf("$", pos + 1);
  if (end < 0 || /\s/.test(src[end - 1]) || /\d/.test(src[end + 1] ?? "")) return false;
  if (!silent) state.push("math", "", 0).content = src.slice(pos + 1, end);
  state.pos = end + 1;
  return true;
}

function renderer(documents) {
  const markdown = new MarkdownIt({ html: true, linkify: false });
  markdown.use(anchors, { slugify: slug });
  markdown.inline.ruler.before("escape", "math", mathInline);
  markdown.renderer.rules.math = (tokens, index) => set(tokens[index].content, false);
  markdown.renderer.rules.fence = (tokens, index) => fence(tokens[index]);
  const target = (href) => {
    if (/^(https?:|#|mailto:)/.test(href)) return href;
    const [path, hash] = href.split("#");
    const name = /(?:^|\/)([\w-]+)\.md$/.exec(path)?.[1];
    if (name && documents.includes(name) && !path.startsWith("../")) return `${name}.html${hash ? `#${hash}` : ""}`;
    return /^images\//.test(path) ? path : null;
  };
  markdown.core.ruler.push("links", (state) => {
    for (const { children } of state.tokens) {
      for (const [place, token] of (children ?? []).entries()) {
        if (token.type !== "link_open") continue;
        const found = target(token.attrGet("href"));
        if (found !== null) {
          token.attrSet("href", found);
          continue;
        }
        // A file of the repository, which a page does not have: its name is kept, in the source's words.
        token.tag = children.slice(place).find((one) => one.type === "link_close").tag = "span";
        token.attrs = [["title", token.attrGet("href").replace(/^(\.\.\/)+/, "")]];
      }
    }
  });
  return markdown;
}

function fence({ info, content }) {
  const [word, ...more] = info.trim().split(/\s+/);
  if (word === "math") return `<div class="math">${set(content, true)}</div>\n`;
  const code = `<pre tabindex="0"><code>${escaped(content)}</code></pre>`;
  const base = more.find((one) => one.startsWith("extends="))?.slice(8);
  const spec = word !== "obj" ? "" : base ? `objective example extends ${base}\n\n${content}` : content;
  if (!/^objective /m.test(spec)) return `${code}\n`;
  return `<div class="block">${code}<a class="open" href="${link(spec)}">open in the playground</a></div>\n`;
}

const NAV = [["tutorial", "Tutorial"], ["language", "Language"], ["gallery", "Gallery"], ["errors", "Errors"], ["hosts", "Hosts"]];

function page(name, title, body, aside, className = "") {
  const nav = NAV.map(([to, text]) => `<a href="${to}.html"${to === name ? ' aria-current="page"' : ""}>${text}</a>`).join("");
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escaped(title)} · maspo-dsl</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="katex.css">
<link rel="stylesheet" href="style.css">
</head>
<body>
<a class="skip" href="#main">to the text</a>
<header><nav aria-label="site"><a class="home" href="index.html">maspo-dsl</a><a href="index.html">Playground</a>${nav}</nav></header>
<div class="page ${className}">
<aside><nav aria-label="pages">${aside}</nav></aside>
<article id="main">
${body}
</article>
</div>
</body>
</html>
`;
}

// A card of the gallery: small curves of good tokens above those of bad ones, the formula, where to go on.
function picture({ ratios, curves, why, name }) {
  if (!curves.length) return `<p>${escaped(why)}</p>`;
  const wide = 130, high = 84;
  const panels = [1, -1].map((advantage, column) => {
    const mine = curves.filter((curve) => curve.advantage === advantage);
    const values = mine.flatMap((curve) => curve.weights).filter((value) => value !== null);
    const low = Math.max(Math.min(0, ...values), -4), top = Math.min(Math.max(0, ...values), 4), span = top - low || 1;
    const x = (index) => (index / (ratios.length - 1)) * wide;
    const y = (value) => 1 + ((top - Math.min(Math.max(value, 2 * low - top), 2 * top - low)) / span) * (high - 20);
    const lines = mine.map(({ weights, old }, place) => {
      let path = "", pen = false;
      weights.forEach((value, index) => {
        if (value !== null) path += `${pen ? "L" : "M"}${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
        pen = value !== null;
      });
      return `<path class="curve c${2 * place}" d="${path}"><title>π_old = ${old}</title></path>`;
    });
    const middle = x((ratios.length - 1) / 2);
    const start = column * (wide + 10);
    return `<text x="${start}" y="10">A = ${advantage > 0 ? "1" : "−1"}</text><svg x="${start}" y="14" width="${wide}" height="${high - 16}"><path class="grid" d="M0 ${y(0)}H${wide}M${middle} 0V${high}"/>${lines.join("")}</svg>`;
  });
  return `<svg viewBox="0 0 ${2 * wide + 10} ${high}" role="img" aria-label="gradient weight of ${name} over the ratio, good tokens left, bad ones right">${panels.join("")}</svg>`;
}

function card(row) {
  return `<li id="${row.name}"><h3><a href="objectives.html#${row.name}">${row.name}</a></h3><p>${escaped(row.meaning)}</p>${picture(row)}<div class="math">${set(row.formula, true)}</div><p><a href="index.html?spec=${row.name}">open in the playground</a></p></li>`;
}

// Every page by its file name.
export function pages(docs, gallery) {
  const found = readdirSync(docs).filter((file) => file.endsWith(".md")).map((file) => file.slice(0, -3));
  const documents = [...ORDER.filter((name) => found.includes(name)), ...found.filter((name) => !ORDER.includes(name)).sort()];
  const markdown = renderer(documents);
  const texts = new Map(documents.map((name) => [name, readFileSync(join(docs, `${name}.md`), "utf8")]));
  const title = (name) => /^# (.+)$/m.exec(texts.get(name))?.[1].replace(/[`*]/g, "") ?? name;
  const aside = (current) => {
    const entry = (name, text) => `<li><a href="${name}.html"${name === current ? ' aria-current="page"' : ""}>${escaped(text)}</a>`;
    const inside = (name) => (name !== current || !texts.has(name) ? "" : `<ul>${[...texts.get(name).matchAll(/^## (.+)$/gm)].map(([, text]) => `<li><a href="#${slug(text.replace(/`/g, ""))}">${escaped(text.replace(/`/g, ""))}</a></li>`).join("")}</ul>`);
    return `<ul>${documents.map((name) => `${entry(name, title(name))}${inside(name)}</li>${name === "language" ? `${entry("gallery", "Gallery")}</li>` : ""}`).join("")}</ul>`;
  };
  const written = new Map(documents.map((name) => [`${name}.html`, page(name, title(name), markdown.render(texts.get(name)), aside(name))]));
  const intro = "<h1>Gallery</h1><p>Every objective that ships. A picture shows how much gradient a token gets, by how far the policy has moved on it: ratio 1 in the middle, old probabilities 0.9, 0.1 and 0.001, where a token can get there.</p>";
  written.set("gallery.html", page("gallery", "Gallery", `${intro}<ul class="cards">${gallery.map(card).join("\n")}</ul>`, aside("gallery"), "gallery"));
  return written;
}
