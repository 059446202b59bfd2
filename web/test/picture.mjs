// The picture of the playground in the README: MASPO beside GRPO. `npm run picture`, after `make site`.
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { browser, opened, served } from "./browser.mjs";

const place = join(dirname(fileURLToPath(import.meta.url)), "../../docs/images/playground.png");
const site = await served();
const chrome = await browser();
try {
  const page = await opened(chrome, `${site.address}?spec=maspo`, { width: 1280, height: 660 });
  await page.select("#against", "grpo");
  await page.waitForSelector("#plot path.other");
  await page.waitForFunction(() => document.querySelector("#status").textContent.includes("warning"), { timeout: 60_000 });
  await page.screenshot({ path: place });
} finally {
  await chrome.close();
  site.end();
}
