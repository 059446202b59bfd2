// What the page says of an objective besides its curve.
import katex from "katex";

const make = (name, text = "", className = "") => {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  if (className) made.className = className;
  return made;
};

export function formula(place, { formula: latex, helpers, parameters }) {
  const shown = make("div", "", "scroll");
  shown.tabIndex = 0;
  katex.render(latex, shown, { displayMode: true, throwOnError: false, trust: false, strict: "ignore" });
  place.replaceChildren(shown);
  if (helpers.length) {
    const list = make("dl");
    for (const { call, body, meaning } of helpers) {
      const definition = make("dd");
      katex.render(body, definition, { throwOnError: false, trust: false, strict: "ignore" });
      if (meaning) definition.append(make("small", ` ${meaning}`));
      const term = make("dt");
      katex.render(call, term, { throwOnError: false, trust: false, strict: "ignore" });
      list.append(term, definition);
    }
    place.append(make("h2", "where"), list);
  }
  const values = parameters.map(({ name, value }) => `${name} = ${value}`).join(", ");
  if (values) place.append(make("p", `at ${values}`, "note"));
  const source = make("details");
  source.append(make("summary", "LaTeX"), make("pre", latex));
  place.append(source);
}

export function torch(place, text) {
  const code = make("pre", text, "scroll");
  code.tabIndex = 0;
  place.replaceChildren(make("p", "One file that computes it, its only import torch. Nothing of it is run here.", "note"), code);
}

export function lineage(place, { name, meaning, lineage: names, sources, differs, hash }, openShipped) {
  const chain = make("p", "", "chain");
  names.forEach((each, index) => {
    if (index) chain.append(" extends ");
    if (index === 0) return chain.append(make("strong", each));
    const button = make("button", each, "textual");
    button.addEventListener("click", () => openShipped(each));
    chain.append(button);
  });
  place.replaceChildren(chain, make("p", meaning));
  const section = (title, texts) => {
    if (!texts.length) return;
    const list = make("ul");
    list.append(...texts.map((text) => make("li", text)));
    place.append(make("h2", title), list);
  };
  section("Written from", sources);
  section("What others do otherwise", differs);
  place.append(make("p", `hash ${hash}: the same for every text that computes the same`, "note"));
  place.dataset.of = name;
}

export function difference(place, found, other) {
  if (!found) return place.replaceChildren(make("p", "Choose what to compare with, above."));
  if (found.same) return place.replaceChildren(make("p", `It has the hash of ${other}: they compute the same.`));
  const rows = make("table");
  const head = rows.createTHead().insertRow();
  for (const text of ["part", other, "this spec"]) head.append(make("th", text));
  const body = rows.createTBody();
  for (const { part, first, second } of found.parts) {
    const row = body.insertRow();
    row.append(make("th", part), make("td", first || "nothing"), make("td", second || "nothing"));
  }
  const scroll = make("div", "", "scroll");
  scroll.tabIndex = 0;
  scroll.append(rows);
  const lines = make("pre", "", "scroll lines");
  lines.tabIndex = 0;
  for (const line of found.lines) {
    const sort = { "+": "added", "-": "removed", "@": "place" }[line[0]] ?? "";
    lines.append(make("span", `${line}\n`, sort));
  }
  const notes = make("ul");
  notes.append(...found.notes.map((note) => make("li", note)));
  place.replaceChildren(make("h2", "Part by part"), scroll, make("h2", "As two flat files"), lines, make("h2", "What others do otherwise"), notes);
}
