// Buttons for the blocks of Python on a page. Running a block first runs those above it that have not run yet; all blocks
// share one Python, which is loaded at the first click. Without this script the blocks are code to read.
"use strict";

(() => {
  const blocks = [];
  let python = null;
  let running = null; // the block that runs

  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    made.className = className;
    if (text) made.textContent = text;
    return made;
  };
  const button = (className, text, title, action) => {
    const made = element("button", className, text);
    made.type = "button";
    made.title = title;
    made.addEventListener("click", action);
    return made;
  };
  const lines = (text) => text.split("\n").map((line) => line.trimEnd()).join("\n").trim();

  class Block {
    constructor(code, number) {
      this.number = number;
      this.original = code.querySelector("pre").textContent.replace(/\n$/, "");
      this.ran = null; // the text that has run
      this.root = element("div", "live-block");
      this.root.dataset.block = number;
      const next = code.nextElementSibling;
      this.expected = next?.classList.contains("highlight-text") ? next : null;
      this.picture = this.pictureAfter(this.expected ?? code);
      code.replaceWith(this.root);
      this.makeEditor(code);
      this.makeBar();
      this.output = element("div", "live-output");
      this.output.setAttribute("aria-live", "polite");
      this.root.append(code, this.bar, this.output);
    }

    get text() { return this.area.value; }

    // The page's own picture of what the block draws, if it comes next.
    pictureAfter(place) {
      const next = place.nextElementSibling;
      return next?.querySelector("img") && !next.textContent.trim() ? next : next?.matches("img") ? next : null;
    }

    makeEditor(code) {
      this.pre = code.querySelector("pre");
      code.querySelector("button.copybtn")?.remove();
      const holder = this.pre.parentElement;
      holder.classList.add("live-code");
      this.area = element("textarea", "");
      Object.assign(this.area, { value: this.original, spellcheck: false, wrap: "off", rows: 1 });
      this.area.setAttribute("autocapitalize", "off");
      this.area.setAttribute("autocomplete", "off");
      this.area.setAttribute("aria-label", `Python, block ${this.number}: change it and run it. Control and Enter run it; Escape, then Tab, leaves it.`);
      this.area.addEventListener("input", () => this.changed());
      this.area.addEventListener("keydown", (event) => this.key(event));
      this.area.addEventListener("scroll", () => { this.pre.scrollLeft = this.area.scrollLeft; });
      this.area.addEventListener("focus", () => { this.leaving = false; });
      holder.append(this.area);
    }

    makeBar() {
      this.bar = element("div", "live-bar");
      this.runButton = button("live-run", "Run", "Run this block, and those above it that have not run (Ctrl+Enter)", () => runUpTo(this));
      this.stopButton = button("live-stop", "Stop", "Stop Python; what the blocks have made is lost", stop);
      this.resetButton = button("live-reset", "Reset", "The code as it was", () => this.reset());
      this.stopButton.hidden = this.resetButton.hidden = true;
      this.progress = element("progress", "");
      this.progress.hidden = true;
      this.status = element("span", "live-status");
      this.status.setAttribute("role", "status");
      this.bar.append(this.runButton, this.stopButton, this.resetButton, this.progress, this.status);
    }

    changed() {
      this.pre.innerHTML = highlightPython(this.text) + "\n";
      this.pre.scrollLeft = this.area.scrollLeft;
      this.resetButton.hidden = this.text === this.original && !this.output.hasChildNodes();
      if (this.ran !== null && this.ran !== this.text) this.say("changed since it ran");
    }

    key(event) {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        runUpTo(this);
      } else if (event.key === "Escape") {
        this.leaving = true;
      } else if (event.key === "Tab" && !event.shiftKey && !this.leaving) {
        event.preventDefault();
        this.insert("    ");
      } else if (event.key === "Enter") {
        event.preventDefault();
        const before = this.text.slice(0, this.area.selectionStart).split("\n").pop();
        this.insert("\n" + before.match(/^ */)[0] + (before.trimEnd().endsWith(":") ? "    " : ""));
      }
    }

    insert(text) {
      // (execCommand keeps the browser's undo; without it, the change is made directly.)
      if (!document.execCommand("insertText", false, text)) {
        this.area.setRangeText(text, this.area.selectionStart, this.area.selectionEnd, "end");
        this.changed();
      }
    }

    reset() {
      this.area.value = this.original;
      this.clear();
      this.changed();
      this.resetButton.hidden = true;
      this.say(this.ran === null || this.ran === this.original ? "" : "changed since it ran");
    }

    clear() {
      this.output.replaceChildren();
      this.printed = "";
      this.pending = null;
      for (const own of [this.expected, this.picture]) if (own) own.hidden = false;
    }

    say(text, className = "") {
      this.status.textContent = text;
      this.status.className = `live-status ${className}`;
    }

    // kind: "print", "warning" for what goes to stderr, "error" for why it stopped.
    print(text, kind) {
      if (kind === "print") this.printed += text;
      kind = `live-${kind}`;
      if (!this.pending || this.pending.className !== kind) {
        this.pending = element("pre", kind);
        this.output.append(this.pending);
      }
      this.pending.append(text);
    }

    async run() {
      const text = this.text;
      running = this;
      this.clear();
      this.busy(true);
      const begun = performance.now();
      if (!python.started) this.say("Loading Python (first run only)");
      else this.say("running");
      const done = await python.run(text, `block ${this.number}`);
      running = null;
      this.busy(false);
      this.resetButton.hidden = false;
      if (done.stopped) {
        this.say("stopped: run again");
        return false;
      }
      this.ran = done.ok ? text : null;
      if (done.error) {
        this.pending = null;
        this.print(done.error, "error");
      }
      if (done.svg) {
        const picture = element("div", "live-picture");
        picture.innerHTML = done.svg; // made by the reader's own code, in the reader's own browser
        this.output.append(picture);
        if (this.picture) this.picture.hidden = text === this.original;
      }
      if (done.value) this.output.append(element("pre", "live-value", done.value));
      this.report(done, (performance.now() - begun) / 1000, text);
      return done.ok;
    }

    report(done, seconds, text) {
      const took = `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
      if (!done.ok) this.say(done.unavailable ? "" : `an error, after ${took}`, "live-differs");
      else if (!this.expected) this.say(took);
      else if (lines(this.printed) === lines(this.expected.querySelector("pre").textContent)) {
        this.expected.hidden = true; // the same text is above it
        this.say(`${took}, and prints what the page says`, "live-same");
      } else if (text === this.original) this.say(`${took}: it prints something else than the page says, below`, "live-differs");
      else this.say(`${took}; below, what the page's code prints`);
      this.root.dataset.state = done.ok ? "ran" : "failed";
    }

    busy(is) {
      this.root.dataset.state = is ? "running" : "";
      this.stopButton.hidden = !is;
      this.progress.hidden = true;
      for (const block of blocks) block.runButton.disabled = is;
    }
  }

  async function runUpTo(block) {
    if (running) return;
    const missing = BrowserPython.missing();
    if (missing) {
      block.clear();
      block.print(missing, "error");
      return;
    }
    if (!python) {
      python = new BrowserPython();
      python.onprogress = (loaded, total, what) => {
        if (!running) return;
        running.progress.hidden = loaded >= total;
        running.progress.max = total;
        running.progress.value = loaded;
        const size = (bytes) => (bytes / 1e6).toFixed(1);
        running.say(loaded < total ? `${what}: ${size(loaded)} of ${size(total)} MB` : what);
      };
      python.onoutput = (text, isError) => running?.print(text, isError ? "warning" : "print");
    }
    const first = blocks.slice(0, blocks.indexOf(block)).filter((other) => other.ran === null);
    for (const other of [...first, block]) if (!(await other.run())) return;
  }

  function stop() {
    python.stop();
    for (const block of blocks) block.ran = null; // the next Python knows nothing of them
  }

  document.querySelectorAll("div.live").forEach((code, i) => blocks.push(new Block(code, i + 1)));
  window.liveBlocks = blocks;
})();
