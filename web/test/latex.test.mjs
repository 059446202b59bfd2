// Formulas as a paper prints them: each can be read, and none is wider than a column of 80 mm in letters of 10 points.
import assert from "node:assert/strict";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { browser } from "./browser.mjs";

const gallery = join(dirname(fileURLToPath(import.meta.url)), "../dist/gallery.html");
const COLUMN = (80 / 25.4) * 96;

test("every objective's formula fits a column", async () => {
  const chrome = await browser();
  try {
    const page = await chrome.newPage();
    await page.goto(pathToFileURL(gallery));
    await page.addStyleTag({ content: ".math .katex { font-size: 10pt !important } .math .katex-html { display: inline-block !important }" });
    await page.evaluate(() => document.fonts.ready);
    const widths = await page.$$eval(".cards > li", (all) => all.map((one) => [one.id, one.querySelector(".math .katex-html")?.getBoundingClientRect().width ?? 0]));
    assert.ok(widths.length > 50);
    assert.deepEqual(widths.filter(([, width]) => !(width > 50 && width <= COLUMN)), []);
    assert.equal(await page.$(".katex-error"), null);
  } finally {
    await chrome.close();
  }
});
