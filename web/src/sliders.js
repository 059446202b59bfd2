// A slider for each parameter, made from its domain. An end that is missing is put where the values of interest are.

const STEPS = 200;

function ends({ value, low, high, initial }) {
  const reach = Math.max(4 * Math.abs(initial ?? value), 1);
  return [low ?? (high === null ? -reach : high - reach), high ?? (low === null ? reach : low + reach)];
}

// The numbers of an open interval end a step before its end.
function bounds(parameter) {
  const [low, high] = ends(parameter);
  const step = +((high - low) / STEPS).toPrecision(2);
  const open = (end, bracket) => parameter.domain.includes(bracket) && Number.isFinite(end);
  return {
    step,
    min: parameter.low !== null && open(parameter.low, "(") ? low + step : low,
    max: parameter.high !== null && parameter.domain.endsWith(")") ? high - step : high,
  };
}

const short = (value) => String(+value.toPrecision(4));

// Writes the rows; `changed(name, value)` is called as they move. Rows that are there already keep the focus.
export function show(place, parameters, written, changed) {
  const names = parameters.map((parameter) => `${parameter.name} ${parameter.domain} ${written[parameter.name]}`).join();
  if (place.dataset.names === names) return update(place, parameters);
  place.dataset.names = names;
  place.replaceChildren();
  for (const parameter of parameters) place.append(row({ ...parameter, initial: written[parameter.name] }, changed));
}

function update(place, parameters) {
  for (const { name, value } of parameters) {
    for (const input of place.querySelectorAll(`[data-name="${name}"]`)) if (input !== document.activeElement) input.value = short(value);
  }
}

function row(parameter, changed) {
  const { name, value, meaning, domain, choices } = parameter;
  const line = document.createElement("div");
  line.className = "slider";
  const label = document.createElement("label");
  label.htmlFor = `param-${name}`;
  label.textContent = name;
  label.title = meaning;
  const about = document.createElement("small");
  about.textContent = `in ${domain}${meaning ? `: ${meaning}` : ""}`;
  about.id = `about-${name}`;
  const control = choices.length ? select(choices, value) : range(parameter);
  control.id = `param-${name}`;
  control.dataset.name = name;
  control.setAttribute("aria-describedby", about.id);
  const number = document.createElement("input");
  Object.assign(number, { type: "number", value: short(value), step: "any" });
  number.dataset.name = name;
  number.setAttribute("aria-label", `${name}, as a number`);
  control.addEventListener("input", () => {
    number.value = short(+control.value);
    changed(name, +short(+control.value));
  });
  number.addEventListener("change", () => {
    if (number.value === "") return;
    control.value = number.value;
    changed(name, +number.value);
  });
  line.append(label, control, number, about);
  return line;
}

function range(parameter) {
  const made = document.createElement("input");
  const { min, max, step } = bounds(parameter);
  Object.assign(made, { type: "range", min, max, step });
  made.value = parameter.value;
  return made;
}

function select(choices, value) {
  const made = document.createElement("select");
  made.append(...choices.map((choice) => new Option(String(choice), String(choice), false, choice === value)));
  return made;
}
