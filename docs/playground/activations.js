// The playground of activation functions: what can be set, and how a frame of activations.py is drawn.
import { Page, Trainer, element, fromJson, palette } from "./page.js";
import { cells, css, curves, logBars, open, point, range, toPixels } from "./draw.js";

// The parameters of each activation: [default, lowest, highest]. activations.py has the same; a test compares them.
export const PARAMS = {
  "relu": {}, "leaky_relu": { "negative_slope": [0.01, 0, 1] }, "prelu": { "slope": [0.25, 0, 1] },
  "rrelu": { "lower": [0.125, 0, 0.3], "upper": [0.333, 0.3, 1] }, "relu6": {}, "elu": { "alpha": [1, 0.1, 3] }, "selu": {},
  "celu": { "alpha": [1, 0.1, 3] }, "gelu": {}, "silu": {}, "mish": {}, "hardswish": {}, "sigmoid": {}, "logsigmoid": {},
  "hardsigmoid": {}, "tanh": {}, "hardtanh": { "min_val": [-1, -3, -0.1], "max_val": [1, 0.1, 3] }, "tanhshrink": {},
  "softsign": {}, "softplus": { "beta": [1, 0.2, 5] }, "softshrink": { "lambd": [0.5, 0, 2] }, "hardshrink": { "lambd": [0.5, 0, 2] },
  "threshold": { "threshold": [0.5, -2, 2], "value": [-0.25, -1, 1] }, "crelu": {}, "maxout": { "pieces": [2, 2, 4] }, "glu": {},
  "softmax": {}, "log_softmax": {}, "identity": {}
};
const LIMIT = 3, CELLS = 48, UNIT_CELLS = 24;
const NOTES = {
  crelu: "Two outputs: relu(x) and relu(-x).",
  glu: "Solid: x through a gate that is open. Dashed: 1 through a gate that x opens.",
  maxout: "The greatest of -x - 1, 0.3 x and x - 1. A network learns its own lines.",
  softmax: "Of x, 0 and 1: the three shares.",
  log_softmax: "Of x, 0 and 1: the logarithms of the three shares.",
  rrelu: "Drawn with the mean of its slopes, as it is after training.",
};

const named = (names) => names.map((name) => [name, name]);
const paramControls = [...new Set(Object.values(PARAMS).flatMap(Object.keys))].map((name) => {
  const [initial, min, max] = Object.values(PARAMS).find((params) => name in params)[name];
  const when = (state) => name in PARAMS[state.activation];
  return { name, label: name, min, max, step: name === "pieces" ? 1 : 0.01, initial, when };
});
const controls = [
  { name: "activation", label: "Activation", options: named(Object.keys(PARAMS)) },
  ...paramControls,
  { name: "data", label: "Points", options: [["circles", "circles"], ["moons", "moons"], ["spirals", "spirals"], ["own", "my own"]] },
  { name: "depth", label: "Hidden layers", min: 1, max: 8, step: 1 },
  { name: "width", label: "Units in each", min: 2, max: 12, step: 2 },
  {
    name: "init", label: "Weights start as",
    options: [["default", "PyTorch's default"], ["glorot", "Glorot"], ["he", "He"], ["lecun", "LeCun"], ["orthogonal", "orthogonal"], ["small", "too small (0.05)"], ["large", "too large (3)"]],
  },
  { name: "norm", label: "Normalisation", options: [["none", "none"], ["batch", "BatchNorm"], ["layer", "LayerNorm"]] },
  { name: "optimizer", label: "Optimizer", options: [["sgd", "SGD"], ["momentum", "SGD with momentum"], ["adam", "Adam"]] },
  { name: "lr", label: "Learning rate", options: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1].map((lr) => [lr, String(lr)]) },
  { name: "seed", hidden: true, min: 0, max: 999 },
  {
    name: "own", hidden: true,
    write: (own) => own.map((one) => one.join("_")).join("*"),
    read: (text) => text.split("*").map((one) => one.split("_").map(Number)).filter((one) => one.length === 3 && one.every(Number.isFinite)).slice(0, 200),
  },
];
const defaults = {
  activation: "relu", data: "circles", depth: 2, width: 8, init: "default", norm: "none", optimizer: "adam", lr: 0.01, seed: 0, own: [],
  ...Object.fromEntries(paramControls.map(({ name, initial }) => [name, initial])),
};

function make(state) {
  if (state.data === "own" && state.own.length < 2) return null;
  const params = Object.fromEntries(Object.keys(PARAMS[state.activation]).map((name) => [name, state[name]]));
  const { data, own, activation, depth, width, init, norm, optimizer, lr, seed } = state;
  const settings = { data, own, activation, params, depth, width, init, norm, optimizer, lr, seed };
  return {
    code: `activations.Network(${fromJson(settings)})`,
    extra: `page.Message(activations.curves(${fromJson(activation)}, ${fromJson(params)}))`,
  };
}

// ── Drawing ──

const canvas = (label, attributes = {}) => element("canvas", { role: "img", "aria-label": label, ...attributes });
const plane = canvas("The points, and what the network takes every place for. Arrow keys move a cross, Enter adds a point, Backspace takes one back.", { role: "application", tabindex: "0" });
const shape = canvas("The activation: value, slope and curvature");
const units = canvas("What each unit answers, over the plane");
const norms = canvas("The norm of the gradient of each layer's weights");
const losses = canvas("The loss");
const note = element("span");
const cursor = { x: 0, y: 0, shown: false };
const side = element("select", { id: "playground-side" }, element("option", { value: "1" }, "blue squares"), element("option", { value: "0" }, "orange circles"));
const own = element("span", { class: "pg-own" }, element("label", { for: "playground-side" }, "A click adds "), side,
  " ", element("button", { type: "button", onclick: () => change(page.state.own.slice(0, -1)) }, "Take back"),
  " ", element("button", { type: "button", onclick: () => change([]) }, "Clear"));

const columns = [
  [
    { title: "The points and the boundary", canvas: plane, note: own },
    { title: "Loss of the batches", canvas: losses },
    { title: "The activation", canvas: shape, note },
  ],
  [
    { title: "Gradient norm of each layer's weights", canvas: norms, note: "Logarithmic: from line to line it is a factor of 100." },
    { title: "What each unit answers", canvas: units, note: "A column is a layer. Blue: above 0, orange: below. Crossed out: the same answer for all points, such as a dead ReLU." },
  ],
];

function change(points) {
  page.adopt({ ...page.state, own: points, data: "own" });
}

function add(x, y) {
  const near = (value) => Math.round(Math.min(Math.max(value, -LIMIT), LIMIT) * 100) / 100;
  change([...(page.state.data === "own" ? page.state.own : []), [near(x), near(y), Number(side.value)]]);
}

plane.addEventListener("click", (event) => {
  const box = plane.getBoundingClientRect();
  add(((event.clientX - box.left) / box.width) * 2 * LIMIT - LIMIT, LIMIT - ((event.clientY - box.top) / box.height) * 2 * LIMIT);
});
plane.addEventListener("keydown", (event) => {
  const moves = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, 0.1], ArrowDown: [0, -0.1] };
  if (event.key in moves) {
    cursor.x += moves[event.key][0];
    cursor.y += moves[event.key][1];
    cursor.shown = true;
    page.spoken.textContent = `x ${cursor.x.toFixed(1)}, y ${cursor.y.toFixed(1)}`;
  } else if (event.key === "Enter" || event.key === " ") add(cursor.x, cursor.y);
  else if (event.key === "Backspace") change(page.state.own.slice(0, -1));
  else return;
  event.preventDefault();
  page.redraw();
});
plane.addEventListener("blur", () => { cursor.shown = false; page.redraw(); });

function drawPlane(frame, state) {
  const { context, width } = open(plane, 1);
  if (frame) cells(context, frame.boundary, CELLS, 0, 0, width, 0.55);
  const { a, b, text } = palette();
  const flat = state.data === "own" ? state.own.flat() : [...frame.points];
  for (let i = 0; i < flat.length; i += 3) {
    point(context, toPixels(flat[i], width, LIMIT), width - toPixels(flat[i + 1], width, LIMIT), flat[i + 2] ? b : a, flat[i + 2] === 1, 3.2);
  }
  if (cursor.shown) {
    const x = toPixels(cursor.x, width, LIMIT), y = width - toPixels(cursor.y, width, LIMIT);
    context.strokeStyle = css(text);
    context.strokeRect(x - 8, y, 16, 0.01);
    context.strokeRect(x, y - 8, 0.01, 16);
  }
}

function drawUnits(frame, state) {
  const { depth, width: count } = state;
  const { context, width } = open(units, count / Math.max(depth, 5), 20);
  const { text, line } = palette();
  const step = width / Math.max(depth, 5), size = step - 4, pixels = UNIT_CELLS * UNIT_CELLS;
  context.textAlign = "center";
  for (let layer = 0; layer < depth; layer++) {
    context.fillStyle = css(text);
    context.fillText(String(layer + 1), (layer + 0.5) * step, 13);
    for (let unit = 0; unit < count; unit++) {
      const index = layer * count + unit, x = layer * step + 2, y = unit * step + 20;
      cells(context, frame.units.subarray(index * pixels, (index + 1) * pixels), UNIT_CELLS, x, y, size, 0.9);
      context.strokeStyle = css(line);
      context.lineWidth = 1;
      context.strokeRect(x, y, size, size);
      if (frame.constant[index]) {
        context.strokeStyle = css(text);
        context.lineWidth = 2;
        context.beginPath();
        context.moveTo(x, y);
        context.lineTo(x + size, y + size);
        context.moveTo(x + size, y);
        context.lineTo(x, y + size);
        context.stroke();
      }
    }
  }
}

const DASHES = [[], [6, 4], [2, 3]];

function drawShape(state, curve) {
  const n = 251, colours = palette(), series = [];
  for (const name of ["curvature", "slope", "value"]) {
    for (let i = 0; i * n < curve[name].length; i++) {
      const part = [...curve[name].subarray(i * n, (i + 1) * n)];
      series.unshift({ values: part, colour: colours[name], dash: DASHES[i], name: i ? "" : name });
    }
  }
  const [low, high] = range([...curve.value, ...curve.slope, ...curve.curvature]);
  const ends = { from: -5, to: 5, low: Math.max(low - 0.1, -4), high: Math.min(high + 0.1, 5) };
  curves(shape, { series, ...ends, zero: true, xlabel: "x", ratio: 0.75 });
  note.textContent = NOTES[state.activation] ?? "";
}

const percent = (share) => `${(100 * share).toFixed(0)}%`;

function show(frame, state, history, curve) {
  drawPlane(frame, state);
  if (!frame) return [["Points", state.own.length]];
  drawUnits(frame, state);
  drawShape(state, curve);
  const gradients = [...frame.gradients];
  logBars(norms, gradients, [...Array(state.depth).keys()].map((i) => String(i + 1)).concat("out"), palette().slope);
  const series = [{ values: history.losses.values, colour: palette().value }];
  const [, high] = range(series[0].values);
  curves(losses, { series, from: 0, to: frame.steps, low: 0, high, xlabel: "steps" });
  const dead = frame.constant.reduce((sum, one) => sum + one, 0);
  const heldBack = state.data === "own" ? [] : [["on points held back", percent(frame.held_accuracy)]];
  return [
    ["Steps", frame.steps],
    ["Right on the points", percent(frame.accuracy)],
    ...heldBack,
    ["Loss", frame.steps ? told(history.losses.last) : "-"],
    ["Dead units", `${dead} of ${frame.constant.length}`],
    ["Frames a second", page.rate.toFixed(0)],
  ];
}

const told = (loss) => (Number.isFinite(loss) ? loss.toFixed(3) : "NaN: it has diverged; choose a smaller learning rate");

function spoken(frame) {
  const gradients = [...frame.gradients];
  const dead = frame.constant.reduce((sum, one) => sum + one, 0);
  return `After ${frame.steps} steps ${percent(frame.accuracy)} of the points are right, ${dead} units are dead. ` +
    `The gradient of the first layer has norm ${gradients[0].toPrecision(2)}, that of the last ${gradients.at(-1).toPrecision(2)}.`;
}

const page = new Page(document.querySelector(".playground"), {
  trainer: new Trainer("activations.py"), make, controls, defaults, columns, show, told: spoken,
  few: "Add at least two points: click into the picture, or move in it with the arrow keys and press Enter.",
});
