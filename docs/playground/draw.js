// Drawing on canvases: planes of cells, points, curves and bars. Sizes are CSS pixels; what is drawn has the screen's.
import { palette } from "./page.js";

export const css = ([r, g, b], alpha = 1) => `rgba(${r},${g},${b},${alpha})`;
const FONT = "12px system-ui, sans-serif";

/** The context of a canvas, cleared, and its size: as wide as its box, `ratio` times as high and `more`. */
export function open(canvas, ratio, more = 0) {
  const width = Math.max(canvas.parentElement.clientWidth, 60);
  const height = Math.round(width * ratio + more);
  const scale = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    canvas.style.height = `${height}px`;
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.fillStyle = css(palette().ground);
  context.fillRect(0, 0, width, height);
  context.font = FONT;
  return { context, width, height };
}

const mixed = (from, to, share) => from.map((c, i) => c + (to[i] - c) * share);
const sheet = document.createElement("canvas");
const table = { of: null, strength: 0, bytes: new Uint8ClampedArray(256 * 4) };

/** The colours of the bytes 0 to 255: four bytes each. */
function tableFor(strength) {
  const colours = palette();
  if (table.of !== colours || table.strength !== strength) {
    const { a, b, ground } = colours;
    for (let v = 0; v < 256; v++) {
      const colour = v < 128 ? mixed(ground, a, (strength * (128 - v)) / 128) : mixed(ground, b, (strength * (v - 128)) / 127);
      table.bytes.set([...colour, 255], 4 * v);
    }
    Object.assign(table, { of: colours, strength });
  }
  return table.bytes;
}

/**
 * n x n bytes as a picture in a rectangle. 128 is the ground's colour, 0 that of class a, 255 that of b; `strength` says
 * how far towards them.
 */
export function cells(context, bytes, n, x, y, size, strength = 1, smooth = true) {
  const colours = tableFor(strength);
  const pixels = new Uint8ClampedArray(4 * n * n);
  for (let i = 0; i < n * n; i++) {
    const v = 4 * bytes[i];
    for (let k = 0; k < 4; k++) pixels[4 * i + k] = colours[v + k];
  }
  sheet.width = sheet.height = n;
  sheet.getContext("2d").putImageData(new ImageData(pixels, n, n), 0, 0);
  context.imageSmoothingEnabled = smooth;
  context.drawImage(sheet, x, y, size, size);
}

/** From the plane, -limit to limit, to pixels. */
export const toPixels = (value, size, limit) => ((value + limit) / (2 * limit)) * size;

/** Points of the plane: circles, or squares for those whose `square` is true. */
export function point(context, x, y, colour, square = false, radius = 3, edge = true) {
  context.fillStyle = css(colour);
  context.beginPath();
  if (square) context.rect(x - radius, y - radius, 2 * radius, 2 * radius);
  else context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
  if (edge) {
    context.strokeStyle = css(palette().ground, 0.9);
    context.lineWidth = 1;
    context.stroke();
  }
}

const round = (value) => (value !== 0 && Math.abs(value) < 0.01 ? value.toExponential(0) : String(Number(value.toPrecision(2))));

/** Curves in a frame with its axes' ends: series [{values, colour, dash, name}] over x from `from` to `to`. */
export function curves(canvas, { series, from, to, low, high, ratio = 0.62, xlabel = "", zero = false }) {
  const { context, width, height } = open(canvas, ratio);
  const { text, line } = palette();
  const left = 40, right = width - 8, top = 22, bottom = height - 20;
  const px = (x) => left + ((x - from) / (to - from || 1)) * (right - left);
  const py = (y) => bottom - ((y - low) / (high - low || 1)) * (bottom - top);
  context.strokeStyle = css(line);
  context.lineWidth = 1;
  context.strokeRect(left, top, right - left, bottom - top);
  context.fillStyle = css(text);
  context.textAlign = "right";
  const marks = zero && low < 0 && high > 0 ? [0, low, high] : [low, high];
  marks.forEach((y, i) => {
    const free = marks.slice(0, i).every((other) => Math.abs(py(other) - py(y)) > 12);
    if (free) context.fillText(round(y), left - 4, py(y) + 4);
  });
  context.textAlign = "left";
  context.fillText(round(from), left, height - 5);
  context.textAlign = "right";
  context.fillText(round(to), right, height - 5);
  context.textAlign = "center";
  context.fillText(xlabel, (left + right) / 2, height - 5);
  if (zero) {
    context.beginPath();
    for (const [x0, y0, x1, y1] of [[px(0), top, px(0), bottom], [left, py(0), right, py(0)]]) {
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
    context.stroke();
  }
  context.save();
  context.beginPath();
  context.rect(left, top, right - left, bottom - top);
  context.clip();
  for (const { values, colour, dash = [] } of series) {
    context.strokeStyle = css(colour);
    context.setLineDash(dash);
    context.lineWidth = 2;
    context.beginPath();
    values.forEach((y, i) => context.lineTo(px(from + ((to - from) * i) / (values.length - 1 || 1)), py(y)));
    context.stroke();
  }
  context.restore();
  legend(context, series.filter((s) => s.name), left, 14);
}

function legend(context, series, x, y) {
  context.textAlign = "left";
  for (const { name, colour, dash = [] } of series) {
    context.strokeStyle = css(colour);
    context.setLineDash(dash);
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x, y - 4);
    context.lineTo(x + 18, y - 4);
    context.stroke();
    context.setLineDash([]);
    context.fillStyle = css(palette().text);
    context.fillText(name, x + 22, y);
    x += 34 + context.measureText(name).width;
  }
}

/** Bars on a logarithmic axis from 1e-9 to 100, with their values above them. */
export function logBars(canvas, values, names, colour, ratio = 0.62) {
  const { context, width, height } = open(canvas, ratio);
  const { text, line } = palette();
  const low = -9, high = 2;
  const left = 40, bottom = height - 20, top = 20;
  const py = (exponent) => bottom - ((exponent - low) / (high - low)) * (bottom - top);
  context.strokeStyle = css(line);
  context.fillStyle = css(text);
  context.textAlign = "right";
  for (let exponent = -8; exponent <= 2; exponent += 2) {
    context.beginPath();
    context.moveTo(left, py(exponent));
    context.lineTo(width - 8, py(exponent));
    context.stroke();
    context.fillText(exponent === 0 ? "1" : `1e${exponent}`, left - 4, py(exponent) + 4);
  }
  const step = (width - 8 - left) / values.length;
  context.textAlign = "center";
  values.forEach((value, i) => {
    const exponent = Math.min(Math.max(value > 0 ? Math.log10(value) : low, low), high);
    const x = left + (i + 0.5) * step;
    context.fillStyle = css(colour);
    context.fillRect(x - step * 0.35, py(exponent), step * 0.7, bottom - py(exponent));
    context.fillStyle = css(text);
    context.fillText(names[i], x, height - 5);
    if (step > 28) context.fillText(value === 0 ? "0" : short(value), x, py(exponent) - 4);
  });
}

const short = (value) => (!Number.isFinite(value) ? "NaN" : value >= 0.01 && value < 1000 ? String(Number(value.toPrecision(2))) : value.toExponential(0));

/** Bars of counts against a fair share, which is a line; a bar that reaches `enough` has the second colour. */
export function countBars(canvas, counts, fair, enough, colour, ratio = 0.45) {
  const { context, width, height } = open(canvas, ratio);
  const { text, line, b } = palette();
  const top = 14, bottom = height - 20, high = Math.max(2 * fair, ...counts);
  const step = width / counts.length;
  context.textAlign = "center";
  counts.forEach((count, i) => {
    const y = bottom - (count / high) * (bottom - top);
    context.fillStyle = css(count >= enough ? b : colour, count >= enough ? 1 : 0.45);
    context.fillRect((i + 0.15) * step, y, 0.7 * step, bottom - y);
    context.fillStyle = css(text);
    context.fillText(String(i + 1), (i + 0.5) * step, height - 5);
    context.fillText(String(count), (i + 0.5) * step, y - 3);
  });
  context.strokeStyle = css(line);
  context.setLineDash([4, 3]);
  context.beginPath();
  const y = bottom - (fair / high) * (bottom - top);
  context.moveTo(0, y);
  context.lineTo(width, y);
  context.stroke();
  context.setLineDash([]);
}

/** The ends of an axis that holds the values. */
export function range(values, least = 0) {
  const finite = values.filter(Number.isFinite);
  const low = Math.min(least, ...finite), high = Math.max(least, ...finite);
  return low === high ? [low, low + 1] : [low, high];
}
