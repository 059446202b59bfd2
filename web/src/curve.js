// The gradient weight of a token over its ratio, as SVG: one panel for good tokens, one for bad ones.

const WIDTH = 420, HEIGHT = 250, LEFT = 42, RIGHT = 12, TOP = 26, BOTTOM = 36;
const TICKS = [0.2, 0.5, 1, 2, 5];
const DASHES = ["", "7 3", "3 3", "9 3 2 3", "1.5 3"];
export const SHOWN = [0.2, 0.5, 0.8, 1, 1.25, 2, 5];

const element = (name, attributes = {}, text = "") => {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
};

// Nice values for an axis from low to high.
function steps(low, high) {
  const rough = (high - low) / 4 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + 1e-9; value += step) found.push(+value.toPrecision(6));
  return found;
}

// The range of the weights of one sign: what the ratios near 1 have counts whole, the tails up to a bound.
function range(curves) {
  const values = curves.flatMap((curve) => curve.weights).filter((value) => value !== null);
  const low = Math.max(Math.min(0, ...values), -6), high = Math.min(Math.max(0, ...values), 6);
  const margin = 0.06 * (high - low || 1);
  return [low - margin, high + margin];
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function panel(ratios, curves, others, advantage) {
  const mine = curves.filter((curve) => curve.advantage === advantage);
  const theirs = others.filter((curve) => curve.advantage === advantage);
  const [low, high] = range([...mine, ...theirs]);
  const ends = [Math.log(ratios[0]), Math.log(ratios.at(-1))];
  const x = (ratio) => LEFT + ((Math.log(ratio) - ends[0]) / (ends[1] - ends[0])) * (WIDTH - LEFT - RIGHT);
  const y = (weight) => TOP + ((high - clamp(weight, 2 * low - high, 2 * high - low)) / (high - low)) * (HEIGHT - TOP - BOTTOM);
  const name = advantage > 0 ? "good tokens, A = 1" : "bad tokens, A = −1";
  const svg = element("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Gradient weight over the ratio, ${name}` });
  svg.append(element("text", { x: LEFT, y: 15, class: "title" }, name));
  const clip = `inside${advantage}`;
  const frame = element("clipPath", { id: clip });
  frame.append(element("rect", { x: LEFT, y: TOP, width: WIDTH - LEFT - RIGHT, height: HEIGHT - TOP - BOTTOM }));
  svg.append(frame);
  for (const value of steps(low, high)) {
    svg.append(element("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: value === 0 ? "zero" : "grid" }));
    svg.append(element("text", { x: LEFT - 6, y: y(value) + 4, class: "tick end" }, String(value).replace("-", "−")));
  }
  for (const ratio of TICKS) {
    svg.append(element("line", { x1: x(ratio), x2: x(ratio), y1: TOP, y2: HEIGHT - BOTTOM, class: ratio === 1 ? "zero" : "grid" }));
    svg.append(element("text", { x: x(ratio), y: HEIGHT - BOTTOM + 15, class: "tick middle" }, String(ratio)));
  }
  svg.append(element("text", { x: (LEFT + WIDTH - RIGHT) / 2, y: HEIGHT - 4, class: "tick middle" }, "ratio π / π_old"));
  const line = (curve, place, other) => {
    let path = "", pen = false;
    curve.weights.forEach((weight, index) => {
      if (weight !== null) path += `${pen ? "L" : "M"}${x(ratios[index]).toFixed(1)} ${y(weight).toFixed(1)}`;
      pen = weight !== null;
    });
    const made = element("path", { d: path, "clip-path": `url(#${clip})`, class: other ? "other" : `curve c${place}`, "stroke-dasharray": DASHES[place] });
    made.append(element("title", {}, `π_old = ${curve.old}${other ? " (compared)" : ""}`));
    return made;
  };
  svg.append(...theirs.map((curve, place) => line(curve, place, true)), ...mine.map((curve, place) => line(curve, place, false)));
  return svg;
}

function legend(olds, compared) {
  const list = document.createElement("ul");
  list.className = "legend";
  const entry = (className, dash, text) => {
    const item = document.createElement("li");
    const mark = element("svg", { viewBox: "0 0 30 8", width: 30, height: 8, "aria-hidden": "true" });
    mark.append(element("path", { d: "M0 4H30", class: className, "stroke-dasharray": dash }));
    item.append(mark, ` ${text}`);
    list.append(item);
  };
  olds.forEach((old, place) => entry(`curve c${place}`, DASHES[place], `π_old ${old}`));
  if (compared) entry("other", "", compared);
  return list;
}

const shown = (value) => (value === null ? "–" : (+value.toPrecision(3)).toString().replace("-", "−"));

// The same in numbers, for those who do not see pictures, and for those who want numbers.
function table(ratios, curves) {
  const made = document.createElement("details");
  const summary = document.createElement("summary");
  summary.textContent = "in numbers";
  const scroll = document.createElement("div");
  scroll.className = "scroll";
  scroll.tabIndex = 0;
  const rows = document.createElement("table");
  const head = rows.createTHead().insertRow();
  for (const text of ["A", "π_old", ...SHOWN.map((ratio) => `r = ${ratio}`)]) {
    const cell = document.createElement("th");
    cell.textContent = text;
    head.append(cell);
  }
  const nearest = SHOWN.map((ratio) => ratios.reduce((best, value, index) => (Math.abs(Math.log(value / ratio)) < Math.abs(Math.log(ratios[best] / ratio)) ? index : best), 0));
  const body = rows.createTBody();
  for (const curve of curves) {
    const row = body.insertRow();
    for (const text of [shown(curve.advantage), curve.old, ...nearest.map((index) => shown(curve.weights[index]))]) row.insertCell().textContent = text;
  }
  scroll.append(rows);
  made.append(summary, scroll);
  return made;
}

// Both panels, the legend and the numbers into `place`; `other` are the curves of what it is compared with.
export function draw(place, found, other, compared) {
  const open = place.querySelector("details")?.open;
  place.replaceChildren();
  if (!found.curves.length) {
    const note = document.createElement("p");
    note.textContent = found.why;
    place.append(note);
    return;
  }
  const olds = [...new Set(found.curves.map((curve) => curve.old))];
  const panels = document.createElement("div");
  panels.className = "panels";
  panels.append(...[1, -1].map((advantage) => panel(found.ratios, found.curves, other?.curves ?? [], advantage)));
  const numbers = table(found.ratios, found.curves);
  numbers.open = open ?? false;
  place.append(panels, legend(olds, compared && other?.curves.length ? compared : ""), numbers);
}
