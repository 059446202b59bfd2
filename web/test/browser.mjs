// A headless Chromium that an npm package carries, and the site as `maspo-dsl playground` serves it.
import { spawn } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import chromium from "@sparticuz/chromium";
import puppeteer from "puppeteer-core";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const shots = process.env.SHOTS ?? "";

export async function served() {
  const command = spawn(process.env.MASPO_DSL ?? join(root, ".venv/bin/maspo-dsl"), ["playground", "--no-browser"], { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  const address = await new Promise((resolve, reject) => {
    let said = "";
    command.stdout.on("data", (part) => {
      said += part;
      const found = /http:\/\/127\.0\.0\.1:\d+\//.exec(said);
      if (found) resolve(found[0]);
    });
    command.on("exit", (code) => reject(new Error(`maspo-dsl playground ended with ${code}: ${said}`)));
  });
  return { address, end: () => command.kill("SIGINT") };
}

export async function browser() {
  return puppeteer.launch({
    args: chromium.args.filter((one) => !["--disable-web-security", "--single-process", "--allow-running-insecure-content"].includes(one)),
    executablePath: process.env.CHROMIUM ?? (await chromium.executablePath()),
    headless: "shell",
    protocolTimeout: 240_000,
  });
}

// A page at an address, once Python answers; requests that leave the machine fail, and are told.
export async function opened(chrome, address, { width = 1280, height = 860, dark = false } = {}) {
  const context = await chrome.createBrowserContext();
  const page = await context.newPage();
  page.problems = [];
  page.on("pageerror", (error) => page.problems.push(String(error)));
  page.on("console", (message) => message.type() === "error" && page.problems.push(message.text()));
  page.on("request", (request) => !/^(http:\/\/127\.0\.0\.1|data:|blob:)/.test(request.url()) && page.problems.push(`asks ${request.url()}`));
  await page.setViewport({ width, height });
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }]);
  await page.goto(address, { waitUntil: "load" });
  if (await page.$("#editor")) await page.waitForSelector("body[data-ready]", { timeout: 120_000 });
  return page;
}

export async function shot(page, name, fullPage = false) {
  if (!shots) return;
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`), fullPage });
}
