// Python in a worker: the very package, asked by name. Texts go in as data; none is ever evaluated.
import { loadPyodide } from "./pyodide/pyodide.mjs";

async function started() {
  const [python, packages] = await Promise.all([
    loadPyodide({ indexURL: new URL("./pyodide/", import.meta.url).href }),
    fetch(new URL("./python.zip", import.meta.url)).then((response) => {
      if (!response.ok) throw new Error(`python.zip: ${response.status}`);
      return response.arrayBuffer();
    }),
  ]);
  const [major, minor] = pythonVersion(python);
  python.unpackArchive(packages, "zip", { extractDir: `/lib/python${major}.${minor}/site-packages` });
  return python.pyimport("maspo_dsl.playground.answers").answer;
}

function pythonVersion(python) {
  const version = python.pyimport("sys").version_info;
  return [version.major, version.minor];
}

const answering = started();
answering.then(
  () => postMessage({ ready: true }),
  (error) => postMessage({ failed: String(error) }),
);

onmessage = async ({ data }) => {
  try {
    const answer = await answering;
    postMessage({ number: data.number, json: answer(data.question, data.given) });
  } catch (error) {
    postMessage({ number: data.number, error: String(error) });
  }
};
