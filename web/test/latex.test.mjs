// Formulas as a paper prints them: each can be read, and none is wider than a column of 80 mm in letters of 10 points.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import katex from "katex";
import { browser } from "./browser.mjs";

const web = join(dirname(fileURLToPath(import.meta.url)), "..");
const COLUMN = (80 / 25.4) * 96;

test("every objective's formula fits a column", async () => {
  const gallery = JSON.parse(readFileSync(join(web, "dist/gallery.json")));
  assert.ok(gallery.length > 50);
  const shown = gallery.map(({ name, formula }) => `<div data-name="${name}">${katex.renderToString(formula, { displayMode: true, strict: true })}</div>`);
  const chrome = await browser();
  try {
    const page = await chrome.newPage();
    const styles = pathToFileURL(join(web, "node_modules/katex/dist/katex.css"));
    await page.goto(styles);
    await page.setContent(`<link rel="stylesheet" href="${styles}"><style>.katex { font-size: 10pt !important } .katex-display > .katex > .katex-html { display: inline-block !important }</style>${shown.join("")}`);
    await page.evaluate(() => document.fonts.ready);
    const widths = await page.$$eval("div", (all) => all.map((one) => [one.dataset.name, one.querySelector(".katex-html").getBoundingClientRect().width]));
    assert.equal(widths.length, gallery.length);
    assert.ok(widths.every(([, width]) => width > 100), "formulas are drawn");
    assert.deepEqual(widths.filter(([, width]) => width > COLUMN), []);
  } finally {
    await chrome.close();
  }
});
