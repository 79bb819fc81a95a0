// The playground of a GAN: what can be set, and how a frame of gan.py is drawn.
import { Page, Trainer, element, fromJson, palette } from "./page.js";
import { cells, countBars, curves, open, point, range, toPixels } from "./draw.js";

const LIMIT = 3, CELLS = 40, SHOWN = 400;
const numbers = (...values) => values.map((value) => [value, String(value)]);
const controls = [
  { name: "data", label: "Real points", options: [["gaussians", "eight Gaussians"], ["ring", "ring"], ["spiral", "spiral"]] },
  { name: "activation", label: "Activation in D", options: [["leaky", "LeakyReLU(0.2)"], ["relu", "ReLU"]] },
  { name: "loss", label: "Loss", options: [["standard", "standard (is it real?)"], ["wasserstein", "Wasserstein (a score)"]] },
  { name: "penalty", label: "Gradient penalty", options: [[0, "off"], [0.1, "0.1"], [1, "1"], [10, "10"]] },
  { name: "lr", label: "Learning rate of G", options: numbers(0.0003, 0.001, 0.003, 0.01) },
  { name: "ratio", label: "D's rate, times G's", options: numbers(0.25, 0.5, 1, 2, 4) },
  { name: "d_steps", label: "Steps of D for one of G", options: numbers(1, 2, 3, 5) },
  { name: "noise", label: "Random numbers for G", options: numbers(1, 2, 4, 8) },
  { name: "width", label: "Units in a layer", options: numbers(8, 16, 32, 64) },
  { name: "seed", hidden: true, min: 0, max: 999 },
];
const defaults = { data: "gaussians", activation: "leaky", loss: "standard", penalty: 0, lr: 0.003, ratio: 2, d_steps: 1, noise: 2, width: 32, seed: 0 };

const canvas = (label) => element("canvas", { role: "img", "aria-label": label });
const plane = canvas("Real and generated points on what D says of every place");
const losses = canvas("The losses of D and G");
const parts = canvas("How many generated points reach each of eight parts of the data");
const columns = [
  [
    { title: "Points on D's surface", canvas: plane, note: "Small and grey: real. Larger, with an edge: made by G. Blue ground: D takes this place for real, orange: for made by G." },
  ],
  [
    { title: "Losses", canvas: losses, note: "They do not fall to 0: each player's success is the other's failure." },
    { title: "Parts of the data that G reaches", canvas: parts, note: "Of 400 points made by G, those near each of eight parts of the data. Dashed: a fair share. Pale: fewer than a quarter of it." },
  ],
];

function show(frame, state, history) {
  const { context, width } = open(plane, 1);
  const { a, b, text, line } = palette();
  cells(context, frame.surface, CELLS, 0, 0, width, 0.6);
  const at = (flat, i) => [toPixels(flat[i], width, LIMIT), width - toPixels(flat[i + 1], width, LIMIT)];
  for (let i = 0; i < frame.real.length; i += 2) point(context, ...at(frame.real, i), line, false, 1.8, false);
  for (let i = 0; i < frame.made.length; i += 2) point(context, ...at(frame.made, i), text, false, 2.6);
  const series = [
    { values: history.d_losses.values, colour: a, name: "D", dash: [6, 3] },
    { values: history.g_losses.values, colour: b, name: "G" },
  ];
  const [low, high] = range(series.flatMap(({ values }) => values));
  curves(losses, { series, from: 0, to: frame.steps, low, high, xlabel: "steps of G" });
  countBars(parts, [...frame.parts], SHOWN / 8, SHOWN / 8 / 4, a);
  const last = (losses) => (frame.steps ? losses.last.toFixed(2) : "-");
  return [
    ["Steps", frame.steps],
    ["Parts reached", `${frame.covered} of 8`],
    ["On the data", `${(100 * frame.on_data).toFixed(0)}%`],
    ["Loss of D", last(history.d_losses)],
    ["of G", last(history.g_losses)],
    ["Frames a second", page.rate.toFixed(0)],
  ];
}

function told(frame) {
  return `After ${frame.steps} steps G reaches ${frame.covered} of 8 parts of the data; ${(100 * frame.on_data).toFixed(0)}% of its points are on the data.`;
}

const page = new Page(document.querySelector(".playground"), {
  trainer: new Trainer("gan.py"), make: (state) => ({ code: `gan.Game(${fromJson(state)})` }), controls, defaults, columns, show, told,
});
