// The worker: loads Pyodide, NumPy and minidl at once, side by side, and runs what it is sent. See python.js and runner.py.
const here = new URL(".", import.meta.url);
const say = (message) => self.postMessage(message);

// ── Downloads ──
// Pyodide asks for its files one after the other; here all begin together, and it is given what has begun.
const begun = new Map();
const plainFetch = self.fetch.bind(self);
self.fetch = (what, options) => {
  const url = String(what.url ?? what);
  const download = begun.get(url);
  begun.delete(url);
  return download ?? plainFetch(what, options);
};
const count = { loaded: 0, total: 0, what: "Loading Python (first run only)" };

async function download(url) {
  const response = await plainFetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status} ${response.statusText}`);
  const counter = new TransformStream({
    transform(chunk, to) {
      count.loaded += chunk.byteLength;
      say({ kind: "progress", ...count });
      to.enqueue(chunk);
    },
  });
  const headers = new Headers(response.headers);
  if (url.endsWith(".wasm")) headers.set("Content-Type", "application/wasm");
  return new Response(response.body.pipeThrough(counter), { headers });
}

function begin(url) {
  const promise = download(url);
  promise.catch(() => {}); // who waits for it is told
  begun.set(url, promise);
}

async function bytes(url) {
  return (await self.fetch(url)).arrayBuffer();
}

// ── Python ──
async function start() {
  const config = await (await plainFetch(new URL("config.json", here))).json();
  const base = new URL(config.pyodide, here).href;
  const minidl = new URL(config.minidl, here).href;
  const numpy = config.numpy && new URL(config.numpy, here).href;
  const runner = new URL("runner.py", here).href;
  const svg = config.svg && new URL("svg.py", here).href;
  count.total = config.bytes;
  for (const name of ["pyodide.asm.wasm", "python_stdlib.zip"]) begin(base + name);
  for (const url of [numpy, minidl, runner, svg]) if (url) begin(url);
  const { loadPyodide } = await import(base + "pyodide.mjs");
  const pyodide = await loadPyodide({ indexURL: base, packages: numpy ? [] : ["numpy"], env: { MINIDL_PURE: "1", HOME: "/home/pyodide" } });
  if (numpy) pyodide.unpackArchive(await bytes(numpy), "wheel");
  pyodide.unpackArchive(await bytes(minidl), "wheel");
  if (svg) pyodide.FS.writeFile("/home/pyodide/svg.py", new Uint8Array(await bytes(svg)));
  pyodide.FS.writeFile("/home/pyodide/_runner.py", new Uint8Array(await bytes(runner)));
  say({ kind: "progress", ...count, what: "Starting minidl" });
  const python = pyodide.pyimport("_runner");
  python.start((text, error) => say({ kind: "output", text, error }));
  return python;
}

const python = start().catch((error) => {
  say({ kind: "failed", error: `Python could not be loaded. ${error.message ?? error}` });
  return null;
});

self.onmessage = async ({ data: { id, code, name } }) => {
  const runner = await python;
  if (!runner) return;
  const [ok, svg, value, error] = JSON.parse(runner.run(code, name));
  say({ kind: "done", id, ok, svg, value, error });
};
