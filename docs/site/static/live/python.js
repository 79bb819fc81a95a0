// Python in the page: `new BrowserPython()` starts a worker with Pyodide, NumPy and minidl when it is first asked to run.
//
//   const python = new BrowserPython();
//   python.onprogress = (loaded, total, what) => ...      bytes; `what` says what goes on
//   python.onoutput = (text, isError) => ...              what the code prints, as it prints
//   const done = await python.run(code, name);            {ok, svg, value, error}
//   python.stop();                                        ends the worker; the next run starts another
//
// All code runs in one namespace, until stop(). A page of a playground may send its own module: run() it first.
"use strict";

class BrowserPython {
  static folder = new URL(".", document.currentScript.src);

  // Why Python cannot run here, or null.
  static missing() {
    if (location.protocol === "file:") {
      return "A page that was opened as a file may not start Python. Serve the folder: python -m http.server, then open http://localhost:8000";
    }
    if (typeof Worker === "undefined" || typeof WebAssembly === "undefined") {
      return "This browser has no WebAssembly or no web workers, which Python needs.";
    }
    return null;
  }

  constructor() {
    this.worker = null;
    this.waiting = new Map();
    this.count = 0;
    this.onprogress = this.onoutput = () => {};
  }

  get started() { return this.worker !== null; }

  start() {
    if (this.worker) return;
    this.worker = new Worker(new URL("worker.js", BrowserPython.folder), { type: "module" });
    this.worker.onmessage = ({ data }) => this.receive(data);
    this.worker.onerror = (event) => this.fail(`Python could not be loaded: ${event.message ?? "no answer from the server"}`);
  }

  receive(message) {
    if (message.kind === "progress") this.onprogress(message.loaded, message.total, message.what);
    else if (message.kind === "output") this.onoutput(message.text, message.error);
    else if (message.kind === "done") {
      this.waiting.get(message.id)?.(message);
      this.waiting.delete(message.id);
    } else if (message.kind === "failed") this.fail(message.error);
  }

  fail(error) {
    for (const answer of this.waiting.values()) answer({ ok: false, error, unavailable: true });
    this.waiting.clear();
    this.end();
  }

  run(code, name = "code") {
    this.start();
    const id = ++this.count;
    return new Promise((answer) => {
      this.waiting.set(id, answer);
      this.worker.postMessage({ id, code, name });
    });
  }

  stop() {
    for (const answer of this.waiting.values()) answer({ ok: false, stopped: true, error: "stopped" });
    this.waiting.clear();
    this.end();
  }

  end() {
    this.worker?.terminate();
    this.worker = null;
  }
}
