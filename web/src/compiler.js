// The compiler behind a worker: questions go out, answers come back in order. A question that is no longer wanted is
// dropped if it has not begun; `restart` ends one that has.

export class Compiler {
  constructor(url) {
    this.url = url;
    this.number = 0;
    this.waiting = new Map();
    this.start();
  }

  start() {
    this.worker = new Worker(this.url, { type: "module" });
    this.ready = new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }) => {
        if (data.ready) return resolve(data);
        if (data.failed) return reject(new Error(data.failed));
        const waiting = this.waiting.get(data.number);
        this.waiting.delete(data.number);
        if (!waiting) return;
        if (data.error) waiting.reject(new Error(data.error));
        else waiting.resolve(JSON.parse(data.json));
      };
      this.worker.onerror = (event) => reject(new Error(event.message || "the worker did not start"));
    });
    this.ready.catch(() => {});
  }

  // {answer} or {diagnostics}.
  async ask(question, given) {
    await this.ready;
    const number = ++this.number;
    return new Promise((resolve, reject) => {
      this.waiting.set(number, { resolve, reject });
      this.worker.postMessage({ number, question, given: JSON.stringify(given) });
    });
  }

  get busy() {
    return this.waiting.size > 0;
  }

  restart() {
    this.worker.terminate();
    this.waiting.clear();
    this.start();
  }
}
