// Starts `maspo-dsl lsp` and leaves everything to it.
const vscode = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

async function activate() {
  const [command, ...args] = vscode.workspace.getConfiguration("maspo-dsl").get("command");
  const documents = { documentSelector: [{ language: "obj" }] };
  client = new LanguageClient("maspo-dsl", "maspo-dsl", { command, args }, documents);
  try {
    await client.start();
  } catch (error) {
    const help = 'pip install "maspo-dsl[lsp]", or set maspo-dsl.command';
    vscode.window.showErrorMessage(`${[command, ...args].join(" ")} does not start: ${error.message}; ${help}`);
  }
}

function deactivate() {
  return client?.stop();
}

module.exports = { activate, deactivate };
