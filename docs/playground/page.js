// What both playgrounds share: controls, their state in the URL, Python, and the loop that trains and draws.

// ── Python ──
// Live code and playgrounds run in the same worker: _static/live/python.js (docs/site/static/live).
const here = new URL(".", import.meta.url);

const PYTHON_FILES = ["points.py", "page.py"];

/** Python with the playground's modules, once they are loaded. `main` is the file that has the playground itself. */
export class Trainer {
  constructor(main) {
    this.main = main;
    this.loading = null;
    this.onprogress = () => {};
  }

  load() {
    this.loading ??= this.begin().catch((error) => { this.loading = null; throw error; });
    return this.loading;
  }

  async begin() {
    const missing = BrowserPython.missing();
    if (missing) throw new Error(missing);
    this.python = new BrowserPython();
    this.python.onprogress = (loaded, total, what) => this.onprogress(loaded, total, what);
    const files = [...PYTHON_FILES, this.main];
    const texts = await Promise.all(files.map(async (name) => {
      const response = await fetch(new URL(name, here));
      if (!response.ok) throw new Error(`${name}: ${response.status} ${response.statusText}`);
      return response.text();
    }));
    const writes = files.map((name, i) => `open(${literal(name)}, "w").write(${literal(texts[i])})`);
    await this.run(["import json, sys", ...writes, 'sys.path.insert(0, ".")', `import page, ${this.main.replace(".py", "")}`].join("\n"));
  }

  async run(code) {
    const done = await this.python.run(code, "block playground");
    if (!done.ok) throw new Error(lastLine(done.error));
    return done.value;
  }

  /** What a Python expression gives that is a page.Message: an object of numbers and typed arrays. */
  async ask(code) {
    const message = JSON.parse(await this.run(code));
    for (const [name, value] of Object.entries(message)) {
      if (value?.data !== undefined) message[name] = typed(value);
    }
    return message;
  }
}

/** A Python literal of a string. (JSON's are a part of Python's.) */
export const literal = (text) => JSON.stringify(text);
export const fromJson = (value) => `json.loads(${literal(JSON.stringify(value))})`;
const lastLine = (error) => String(error).trim().split("\n").at(-1);

function typed({ type, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  return type === "uint8" ? bytes : new Float32Array(bytes.buffer);
}

// ── State in the URL ──

/** The settings that the URL's fragment names, over the defaults; what does not fit is left out. */
export function fromUrl(controls, defaults) {
  const given = new URLSearchParams(location.hash.slice(1));
  const state = { ...defaults };
  for (const control of controls) {
    const text = given.get(control.name);
    if (text === null) continue;
    const value = control.read ? control.read(text) : typeof defaults[control.name] === "number" ? Number(text) : text;
    const allowed = control.options?.map(([option]) => String(option));
    if (allowed ? allowed.includes(String(value)) : fits(control, value)) state[control.name] = value;
  }
  return state;
}

function fits(control, value) {
  return typeof value !== "number" || (Number.isFinite(value) && value >= (control.min ?? -Infinity) && value <= (control.max ?? Infinity));
}

export function toUrl(controls, defaults, state) {
  const parts = new URLSearchParams();
  for (const { name, write = String } of controls) {
    if (write(state[name]) !== write(defaults[name])) parts.set(name, write(state[name]));
  }
  const text = parts.toString();
  history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

// ── Elements ──

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** A labelled select or slider for a setting; `changed(name, value)` is called when the reader has chosen. */
export function controlFor(control, value, changed) {
  const id = `playground-${control.name}`;
  const output = element("output", { for: id });
  const number = typeof value === "number";
  let input;
  if (control.options) {
    input = element("select", { id, name: control.name });
    for (const [option, text] of control.options) input.append(element("option", { value: option }, text));
    input.value = String(value);
  } else {
    input = element("input", { id, name: control.name, type: "range", min: control.min, max: control.max, step: control.step ?? "any" });
    input.value = value;
    output.textContent = control.tell ? control.tell(value) : value;
  }
  const chosen = () => (number ? Number(input.value) : input.value);
  input.addEventListener("input", () => {
    if (!control.options) output.textContent = control.tell ? control.tell(chosen()) : chosen();
  });
  input.addEventListener("change", () => changed(control.name, chosen()));
  const label = element("label", { for: id }, control.label, " ", output);
  return element("div", { class: "pg-control" }, label, input);
}

// ── The page ──

// A frame should take 0.085 seconds; training gets of it what the rest leaves, within these bounds.
const FRAME = 0.085, LEAST = 0.01, MOST = 0.06;

/**
 * A playground in `root`: buttons, controls, panels, and the loop.
 *
 * trainer: a Trainer. make(state): {code, extra}, the Python of a new player, and of what is shown besides its frames.
 * controls, defaults: see controlFor and fromUrl.
 * make gives null if a player cannot be made of this state yet; `few` says what is missing. columns: of
 * panels, [[{title, canvas, note}]].
 * show(frame, state, history, extra): draws, and gives [name, value] of the numbers; frame is null where make was. history has
 * the losses since the start, by name, each as a Growing.
 * told(frame): a sentence for those who cannot see it.
 */
export class Page {
  constructor(root, { trainer, make, controls, defaults, columns, show, told, few = "" }) {
    Object.assign(this, { root, trainer, make, controls, defaults, show, told, few });
    this.state = fromUrl(controls, defaults);
    this.running = this.ready = this.busy = false;
    this.frame = null;
    this.times = [];
    this.rest = 0.04;
    this.build(columns);
    window.addEventListener("hashchange", () => {
      if (!location.hash.includes("=")) return; // a heading of the page
      this.adopt(fromUrl(controls, defaults));
      root.scrollIntoView();
    });
    for (const link of document.querySelectorAll("a[data-settings]")) link.href = `#${link.dataset.settings}`;
    onTheme(() => this.redraw());
    new ResizeObserver(() => this.redraw()).observe(this.panels);
  }

  build(columns) {
    this.train = element("button", { type: "button", class: "pg-main", onclick: () => this.toggle() }, "Train");
    this.one = element("button", { type: "button", onclick: () => this.step() }, "One step");
    const again = element("button", { type: "button", onclick: () => this.restart() }, "Start over");
    const seed = element("button", { type: "button", onclick: () => this.set("seed", (this.state.seed + 1) % 1000) }, "Other weights");
    this.link = element("button", { type: "button", onclick: () => this.copy() }, "Copy link");
    this.progress = element("progress", { hidden: true, "aria-label": "Loading Python" });
    this.status = element("span", { class: "pg-status", role: "status" }, "Train loads Python (13 MB) the first time.");
    this.numbers = element("p", { class: "pg-numbers" });
    this.spoken = element("p", { class: "pg-spoken", "aria-live": "polite" });
    this.controlBox = element("div", { class: "pg-controls" });
    this.panels = element("div", { class: "pg-panels", hidden: true });
    for (const column of columns) {
      const figures = column.map(({ title, canvas, note }) => {
        const caption = note ? [element("p", { class: "pg-note" }, note)] : [];
        return element("figure", { class: "pg-panel" }, element("figcaption", {}, title), canvas, ...caption);
      });
      this.panels.append(element("div", { class: "pg-column" }, ...figures));
    }
    this.poster = [...this.root.childNodes];
    this.posterBox = element("div", { class: "pg-poster" }, ...this.poster);
    // (The page says where the playground is, for those who read it elsewhere.)
    const note = [...this.posterBox.querySelectorAll("p")].find((p) => !p.querySelector("img") && p.textContent.trim());
    if (note) note.textContent = "A picture of it while it trains. Press Train to begin.";
    this.root.append(
      element("div", { class: "pg-bar", role: "group", "aria-label": "Training" }, this.train, this.one, again, seed, this.link, this.progress, this.status),
      this.controlBox, this.numbers, this.posterBox, this.panels, this.spoken,
    );
    this.buildControls();
  }

  buildControls() {
    const focused = document.activeElement?.id;
    const shown = this.controls.filter((control) => !control.hidden && (!control.when || control.when(this.state)));
    this.controlBox.replaceChildren(...shown.map((control) => controlFor(control, this.state[control.name], (name, value) => this.set(name, value))));
    if (focused) document.getElementById(focused)?.focus();
  }

  set(name, value) {
    this.adopt({ ...this.state, [name]: value });
  }

  /** Another state: into the URL and the controls, and a new player if there is one. */
  adopt(state) {
    this.state = state;
    toUrl(this.controls, this.defaults, this.state);
    this.buildControls();
    if (this.ready) this.restart();
  }

  async load() {
    this.progress.hidden = false;
    this.trainer.onprogress = (loaded, total, what) => {
      this.progress.max = total;
      this.progress.value = Math.min(loaded, total);
      this.say(`${what}: ${(loaded / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB`);
    };
    await this.trainer.load();
    this.progress.hidden = true;
    this.posterBox.hidden = true;
    this.panels.hidden = false;
    if (!this.ready) {
      this.ready = true;
      await this.fresh();
    }
  }

  async fresh() {
    const made = this.make(this.state);
    this.history = {};
    this.frame = null;
    if (!made) {
      this.running = false;
      this.buttons();
      this.redraw();
      return this.say(this.few);
    }
    await this.trainer.run(`player = ${made.code}`);
    this.extra = made.extra ? await this.trainer.ask(made.extra) : null;
    await this.advance(0);
    this.say(this.running ? "Training" : "Ready");
  }

  async advance(seconds) {
    const began = performance.now();
    const frame = await this.trainer.ask(`page.advance(player, ${seconds})`);
    for (const [name, value] of Object.entries(frame)) {
      if (!name.endsWith("losses")) continue;
      this.history[name] ??= new Growing();
      for (const loss of value) this.history[name].push(loss);
    }
    this.frame = frame;
    this.redraw();
    const now = performance.now();
    if (seconds) this.rest = (now - began) / 1000 - seconds;
    if (!this.spokenAt || now - this.spokenAt > 5000 || seconds === 0) {
      this.spoken.textContent = this.told(frame);
      this.spokenAt = now;
    }
  }

  /** One thing after the other: what is asked for while Python works waits. */
  async alone(work) {
    const before = this.last ?? Promise.resolve();
    const mine = before.then(work).catch((error) => this.failed(error));
    this.last = mine;
    return mine;
  }

  async toggle() {
    this.running = !this.running;
    this.buttons();
    if (!this.running) return this.say("Paused");
    await this.alone(() => this.load());
    if (this.running) this.say("Training");
    this.times = [];
    while (this.running) {
      const time = Math.min(Math.max(FRAME - this.rest, LEAST), MOST);
      await this.alone(() => this.running && this.advance(time));
      this.times.push(performance.now());
      await new Promise((go) => requestAnimationFrame(go));
    }
  }

  async step() {
    this.running = false;
    this.buttons();
    await this.alone(async () => {
      await this.load();
      await this.trainer.run("player.step()");
      await this.advance(0);
      this.say("One step");
    });
  }

  restart() {
    return this.alone(async () => { if (this.ready) await this.fresh(); else await this.load(); });
  }

  async copy() {
    await navigator.clipboard?.writeText(location.href).catch(() => {});
    this.say("The link holds all settings; it is in the address bar, too.");
  }

  failed(error) {
    this.running = false;
    this.progress.hidden = true;
    this.buttons();
    this.say(error.message, true);
  }

  say(text, wrong = false) {
    this.status.textContent = text;
    this.status.classList.toggle("pg-wrong", wrong);
  }

  buttons() {
    this.train.textContent = this.running ? "Pause" : "Train";
    this.train.setAttribute("aria-pressed", this.running);
  }

  /** Frames a second, of the last two seconds. */
  get rate() {
    const now = performance.now();
    this.times = this.times.filter((time) => now - time < 2000);
    return this.times.length > 1 ? (this.times.length - 1) / ((this.times.at(-1) - this.times[0]) / 1000) : 0;
  }

  redraw() {
    if (this.panels.hidden || (!this.frame && this.make(this.state))) return;
    this.numbers.replaceChildren(...this.show(this.frame, this.state, this.history, this.extra).map(([name, value]) => element("span", {}, `${name} `, element("b", {}, value))));
    this.root.dataset.rate = this.rate.toFixed(1); // (for the tests)
    this.root.dataset.steps = this.frame?.steps ?? 0;
  }
}

// ── Curves ──

/** A curve that grows: `values` are at most 600 means, each of as many numbers; `last` is the latest number. */
export class Growing {
  values = [];
  last = NaN;
  #waiting = [];
  #each = 1;

  push(number) {
    this.last = number;
    this.#waiting.push(number);
    if (this.#waiting.length < this.#each) return;
    this.values.push(this.#waiting.reduce((sum, one) => sum + one, 0) / this.#each);
    this.#waiting = [];
    if (this.values.length < 600) return;
    this.values = this.values.filter((_, i) => i % 2 === 0).map((one, i) => (one + this.values[2 * i + 1]) / 2);
    this.#each *= 2;
  }
}

// ── Colours ──

let colours = null;

/** The theme's colours, from playground.css: {a, b, ground, line, text, ...}, each [red, green, blue]. */
export function palette() {
  if (colours) return colours;
  const style = getComputedStyle(document.querySelector(".playground"));
  colours = {};
  for (const name of ["a", "b", "ground", "line", "text", "value", "slope", "curvature"]) {
    const hex = style.getPropertyValue(`--pg-${name}`).trim();
    colours[name] = [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
  }
  return colours;
}

function onTheme(changed) {
  const renew = () => { colours = null; changed(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", renew);
  new MutationObserver(renew).observe(document.body, { attributes: true, attributeFilter: ["data-theme"] });
}
