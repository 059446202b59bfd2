// A spec in the address: deflated, in letters that an address keeps. It never leaves the browser.

const LARGEST = 100_000;

async function through(bytes, stream) {
  const reader = new Blob([bytes]).stream().pipeThrough(stream).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > LARGEST) throw new Error("the link holds more text than a spec has");
    parts.push(value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

export async function toLink(state) {
  const bytes = await through(new TextEncoder().encode(JSON.stringify(state)), new CompressionStream("deflate-raw"));
  const letters = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return `#s=${letters.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

// What a link holds, or null if it holds nothing: {text, params, against}. Throws for one that is broken.
export async function fromLink(hash) {
  const found = /^#s=([\w-]+)$/.exec(hash);
  if (!found) return null;
  const bytes = Uint8Array.from(atob(found[1].replaceAll("-", "+").replaceAll("_", "/")), (letter) => letter.charCodeAt(0));
  const state = JSON.parse(new TextDecoder().decode(await through(bytes, new DecompressionStream("deflate-raw"))));
  if (typeof state.text !== "string") throw new Error("the link holds no spec");
  const numbers = Object.entries(state.params ?? {}).filter(([, value]) => typeof value === "number" && Number.isFinite(value));
  return { text: state.text, params: Object.fromEntries(numbers), against: typeof state.against === "string" ? state.against : "" };
}
