// The playground in a browser: what a newcomer does, by mouse and by keyboard alone. `npm test`, after `make site`.
// SHOTS=FOLDER keeps pictures of it.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, opened, served, shot } from "./browser.mjs";

let site, chrome;
before(async () => {
  site = await served();
  chrome = await browser();
});
after(async () => {
  await chrome?.close();
  site?.end();
});

const status = (page) => page.$eval("#status", (one) => one.textContent);
const until = (page, said) => page.waitForFunction((text) => document.querySelector("#status").textContent.includes(text), { timeout: 60_000 }, said);
const curves = (page) => page.$$eval("#plot .panels path.curve", (paths) => paths.map((path) => path.getAttribute("d")));
const choose = async (page, tab) => {
  await page.click(`#tab-${tab}`);
  await page.waitForFunction((id) => document.getElementById(id).childElementCount > 0, { timeout: 60_000 }, tab);
};
const write = async (page, text) => {
  await page.click(".cm-content");
  await page.keyboard.down("Control");
  await page.keyboard.press("a");
  await page.keyboard.up("Control");
  await page.keyboard.type(text);
  await page.keyboard.press("Escape");
};

test("alpha moves the curve, and the text can be moved as well", async () => {
  const page = await opened(chrome, `${site.address}?spec=maspo`);
  const before = await curves(page);
  assert.equal(before.length, 10);
  const slider = await (await page.$("#param-alpha")).boundingBox();
  await page.mouse.move(slider.x + 0.3 * slider.width, slider.y + slider.height / 2);
  await page.mouse.down();
  await page.mouse.move(slider.x + 0.9 * slider.width, slider.y + slider.height / 2, { steps: 8 });
  await page.mouse.up();
  await page.waitForFunction((old) => document.querySelectorAll("#plot .panels path.curve")[2].getAttribute("d") !== old, { timeout: 60_000 }, before[2]);
  const alpha = Number(await page.$eval("#param-alpha", (one) => one.value));
  assert.ok(alpha > 0.8 && alpha < 1, `alpha is ${alpha}`);
  await page.waitForFunction((value) => document.querySelector("#override").textContent.includes(`params.alpha=${value}`), { timeout: 60_000 }, alpha);
  assert.notDeepEqual(await curves(page), before);
  await page.select("#against", "grpo");
  await page.waitForSelector("#plot path.other");
  await shot(page, "compared");
  assert.deepEqual(page.problems, []);
});

test("the words that may stand at a place are offered there", async () => {
  const page = await opened(chrome, site.address);
  await write(page, "objective mine extends maspo\nswap ga");
  await page.keyboard.down("Control");
  await page.keyboard.press("Space");
  await page.keyboard.up("Control");
  await page.waitForSelector(".cm-tooltip-autocomplete li", { timeout: 60_000 });
  const offered = await page.$$eval(".cm-tooltip-autocomplete li .cm-completionLabel", (rows) => rows.map((row) => row.textContent));
  assert.ok(offered.includes("gate"), String(offered));
  assert.ok(!offered.includes("gaussian_gate") && !offered.includes("group"), String(offered));
  assert.deepEqual(page.problems, []);
});

test("a mistake has its caret, and goes when it is mended", async () => {
  const page = await opened(chrome, site.address);
  await write(page, 'objective soft extends group_ppo\n"A gate of my own"\nparam width = 0.3 in (0, 2]\ndef my_gate(r, width) = r * detach(exp(-abs(r - 1) / width))\nratio = policy / old |> my_gat(width) when moving_away(it)\n');
  // Typing may pause, and what is there of the text then has other mistakes.
  await page.waitForFunction(() => document.querySelector("#problems li.error pre")?.textContent.includes("my_gat(width)"), { timeout: 60_000 });
  const frame = await page.$eval("#problems li.error pre", (one) => one.textContent);
  const [line, caret] = frame.split("\n");
  assert.equal(line.slice(caret.indexOf("^"), caret.lastIndexOf("^") + 1), "my_gat");
  assert.match(await page.$eval("#problems li.error", (one) => one.textContent), /did you mean `my_gate`\?/);
  assert.equal(await page.$$eval(".cm-lintRange-error", (marks) => marks.map((mark) => mark.textContent).join("")), "my_gat");
  assert.equal(await page.$eval("#shipped", (one) => one.value), "", "no shipped text any more");
  assert.equal(await page.$eval("#problems li.error a", (one) => one.getAttribute("href")), "errors.html#unknown-function");
  await shot(page, "mistake");
  await page.click("#problems li.error button");
  for (let letter = 0; letter < 6; letter++) await page.keyboard.press("ArrowRight");
  await page.keyboard.type("e");
  await until(page, "soft: no mistakes");
  assert.equal(await page.$("#problems li.error"), null);
  assert.ok(await page.$("#param-width"), "a slider of the new parameter");
  assert.deepEqual(page.problems, []);
});

test("formula, torch, lineage and difference", async () => {
  const page = await opened(chrome, `${site.address}?spec=maspo`);
  await choose(page, "formula");
  assert.match(await page.$eval("#formula .katex", (one) => one.textContent), /σbase/);
  await choose(page, "torch");
  assert.match(await page.$eval("#torch pre", (one) => one.textContent), /^"""maspo[^]*import torch/);
  await choose(page, "lineage");
  assert.match(await page.$eval("#lineage", (one) => one.textContent), /maspo extends group_ppo[^]*MASPO-RL/);
  await page.select("#against", "sapo");
  await choose(page, "difference");
  await page.waitForSelector("#difference table");
  assert.match(await page.$eval("#difference table", (one) => one.textContent), /param tau_pos/);
  await shot(page, "difference");
  assert.deepEqual(page.problems, []);
});

test("the link holds the spec, and the file is the text", async () => {
  const page = await opened(chrome, site.address);
  const text = "objective linked extends group_ppo\nparam cap = 2 in (1, 9]\nratio = policy / old |> min(cap) as cap when A > 0\n";
  await write(page, text);
  await until(page, "linked: no mistakes");
  await page.click("#link");
  await page.waitForFunction(() => location.hash.startsWith("#s="), { timeout: 60_000 });
  const address = page.url();
  assert.match(address, /#s=[\w-]{20,}$/);
  const other = await opened(chrome, address);
  await until(other, "linked: no mistakes");
  assert.equal(await other.$$eval(".cm-line", (lines) => lines.map((line) => line.textContent).join("\n")), text);
  const saved = await page.evaluate(async () => {
    const made = URL.createObjectURL;
    const found = new Promise((resolve) => (URL.createObjectURL = (blob) => (blob.text().then(resolve), made.call(URL, blob))));
    document.getElementById("download").click();
    return found;
  });
  assert.equal(saved, text);
  const broken = await opened(chrome, `${site.address}#s=AAAA`);
  await shot(broken, "broken-link");
  assert.match(await status(broken), /^the link cannot be read; .*mistakes/);
});

test("warnings come from a worker of their own", async () => {
  const page = await opened(chrome, site.address);
  await write(page, "objective free extends group_ppo\nratio = policy / old\n");
  await page.waitForSelector("#problems li.warning", { timeout: 90_000 });
  assert.match(await page.$eval("#problems li.warning", (one) => one.textContent), /unbounded-side/);
});

test("text is never evaluated", async () => {
  const page = await opened(chrome, site.address);
  await write(page, "import os; os._exit(1)\n__import__('js').document.title = 'taken'\n");
  await page.waitForSelector("#problems li.error", { timeout: 60_000 });
  assert.equal(await page.title(), "maspo-dsl playground");
  await write(page, 'objective x extends group_ppo\n"<img src=x onerror=document.title=1>"\n');
  await until(page, "x: no mistakes");
  await choose(page, "lineage");
  assert.equal(await page.$("#lineage img"), null);
  assert.equal(await page.title(), "maspo-dsl playground");
});

test("by the keyboard alone", async () => {
  const page = await opened(chrome, `${site.address}?spec=maspo`);
  const before = await curves(page);
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.className);
  const reached = [];
  for (let press = 0; press < 40 && !reached.includes("param-alpha"); press++) {
    await page.keyboard.press("Tab");
    const now = await focused();
    reached.push(now);
    // Tab leaves the editor after Escape, or is not taken by it at all.
    const visible = await page.evaluate(() => document.activeElement.matches(":focus-visible"));
    assert.ok(visible, `${now} shows no focus`);
  }
  for (const id of ["shipped", "format", "link", "download", "theme", "tab-curve", "against", "param-alpha"]) assert.ok(reached.includes(id), `Tab does not reach ${id}: ${reached.join(" ")}`);
  assert.ok(reached.some((one) => one.includes("cm-content")), "Tab reaches the editor");
  for (let press = 0; press < 10; press++) await page.keyboard.press("ArrowRight");
  await page.waitForFunction((old) => document.querySelectorAll("#plot .panels path.curve")[2].getAttribute("d") !== old, { timeout: 60_000 }, before[2]);
  await page.focus("#tab-curve");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), "tab-formula");
  await page.waitForSelector("#formula .katex");
});

for (const [name, width, height, dark] of [["wide-light", 1440, 900, false], ["wide-dark", 1440, 900, true], ["narrow-light", 390, 844, false], ["narrow-dark", 390, 844, true]]) {
  test(`nothing leaves the screen: ${name}`, async () => {
    for (const page_ of ["", "tutorial.html", "language.html", "gallery.html", "errors.html", "benchmarks.html"]) {
      const page = await opened(chrome, site.address + page_, { width, height, dark });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      assert.ok(wide <= 0, `${page_ || "index.html"} is ${wide} pixels too wide`);
      const [paper, ink] = await page.evaluate(() => ["backgroundColor", "color"].map((one) => getComputedStyle(document.body)[one].match(/[\d.]+/g).slice(0, 3).reduce((sum, part) => sum + +part, 0)));
      assert.equal(paper < ink, dark, "dark is dark, light is light");
      await shot(page, `${name}-${page_.replace(".html", "") || "index"}`, page_ === "");
      assert.deepEqual(page.problems, []);
      await page.close();
    }
  });
}

test("every link within the site leads somewhere", async () => {
  const page = await opened(chrome, `${site.address}language.html`);
  const files = await page.$$eval("aside a", (links) => [...new Set(links.map((one) => one.href.split("#")[0]))]);
  const seen = new Map();
  for (const file of files) {
    await page.goto(file, { waitUntil: "domcontentloaded" });
    const found = await page.evaluate(() => ({ ids: [...document.querySelectorAll("[id]")].map((one) => one.id), links: [...document.querySelectorAll("a[href]")].map((one) => one.href), images: [...document.images].map((one) => one.src) }));
    seen.set(file, found);
  }
  const wrong = [];
  for (const [file, { links, images }] of [...seen]) {
    for (const to of [...links, ...images]) {
      const [path, hash] = to.split("#");
      if (!to.startsWith(site.address)) continue;
      if (!seen.has(path)) {
        const { status: code } = await fetch(path);
        seen.set(path, code === 200 ? null : undefined);
      }
      const there = seen.get(path);
      if (there === undefined || (there && hash && !hash.startsWith("s=") && !there.ids.includes(decodeURIComponent(hash)))) wrong.push(`${file} → ${to}`);
    }
  }
  assert.deepEqual(wrong, []);
});
