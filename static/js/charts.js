// Draws every chart of the page again with uPlot:
// 1. The server has already drawn the chart, as SVG with a table; `data-plot` of the chart's box has its numbers.
// 2. The mouse, or the arrow keys while the box has the focus, move a crosshair over all charts; the legends show the values.
// 3. A period that is selected by dragging, or by Shift and arrow keys and then Enter, goes into the page's range form
//    (`data-range`), which requests it.
// 4. A key of the legend hides its line, and shows it again.
// 5. When live.js has replaced a chart, the plot moves into the new box and gets the new numbers; its crosshair and hidden lines
//    stay. Only a change of lines, step or theme makes a new plot.

import { look } from "./chart-look.js";
import { shown, step } from "./chart-units.js";

const { uPlot } = window;
const SHORTEST_DRAG = 6;

// By the box's id: the plot, its numbers (parsed, and as text), and the hidden lines.
const drawings = new Map();
let focused = "";

function cardOf(box) {
  return box.closest(".chart");
}

function keysOf(box) {
  return Array.from(cardOf(box).querySelectorAll("button[data-series]"));
}

function columns({ first, step: seconds, series }) {
  return [series[0].values.map((_, index) => first + index * seconds), ...series.map(({ values }) => values)];
}

// --- Legends and announcements ---

function say(plot, { unit, step: seconds }) {
  const card = cardOf(plot.root);
  if (!card) return;
  const at = plot.cursor.idx ?? null;
  const time = card.querySelector("[data-at]");
  time.textContent = at === null ? time.dataset.at : step(plot.data[0][at], seconds);
  card.querySelector("[data-whole]").hidden = at !== null;
  keysOf(plot.root).forEach((key, index) => {
    const value = key.querySelector("[data-value]");
    value.textContent = at === null ? value.dataset.value : shown(unit, plot.data[index + 1][at]);
  });
}

function speak(box) {
  const values = keysOf(box).filter((key) => key.ariaPressed === "true");
  const parts = [cardOf(box).querySelector("[data-at]"), ...values];
  const text = parts.map((part) => part.textContent.trim().replace(/\s+/g, " ")).join(", ");
  document.dispatchEvent(new CustomEvent("zenith:announce", { detail: text }));
}

// --- Selecting a period, hiding lines ---

function fieldTime(seconds) {
  return new Date(seconds * 1000).toISOString().slice(0, 16);
}

function mark(plot, left, width) {
  plot.setSelect({ left, width, top: 0, height: width ? plot.over.clientHeight : 0 }, false);
}

// Requests a period that starts with one step and ends with another, both included.
function ask(plot, from, until, seconds) {
  const form = document.querySelector("form[data-range]");
  mark(plot, 0, 0);
  if (!form) return;
  form.elements.since.value = fieldTime(from);
  form.elements.until.value = fieldTime(until + seconds);
  form.requestSubmit();
}

function chooseDragged(plot, seconds) {
  const { left, width } = plot.select;
  if (width < SHORTEST_DRAG) return;
  const [from, until] = [left, left + width].map(
    (pixels) => Math.floor(plot.posToVal(pixels, "x") / seconds) * seconds,
  );
  ask(plot, from, until, seconds);
}

function toggle(key) {
  const { plot, hidden } = drawings.get(cardOf(key).querySelector("[data-plot]").id);
  const number = Number(key.dataset.series);
  if (!hidden.delete(number)) hidden.add(number);
  plot.setSeries(number, { show: !hidden.has(number) });
  key.ariaPressed = String(!hidden.has(number));
}

const MOVES = {
  ArrowLeft: (at) => at - 1,
  ArrowRight: (at) => at + 1,
  Home: () => 0,
  End: (_, last) => last,
};

// `chosen` is the step at which the selection started; null means that nothing is selected.
function choose(drawing, at) {
  const { plot } = drawing;
  drawing.chosen = at;
  if (at === null) return mark(plot, 0, 0);
  const [from, until] = [at, plot.cursor.idx].map((one) => plot.valToPos(plot.data[0][one], "x"));
  mark(plot, Math.min(from, until), Math.max(2, Math.abs(until - from)));
}

function leave(drawing) {
  choose(drawing, null);
  drawing.plot.setCursor({ left: -10, top: -10 }, true, true);
}

function askForChosen({ plot, numbers, chosen }) {
  const times = [chosen, plot.cursor.idx ?? chosen].map((at) => plot.data[0][at]);
  ask(plot, Math.min(...times), Math.max(...times), numbers.step);
}

function moveCrosshair(box, drawing, event) {
  const { plot } = drawing;
  const last = plot.data[0].length - 1;
  const before = plot.cursor.idx ?? null;
  const at = Math.min(last, Math.max(0, MOVES[event.key](before ?? last + 1, last)));
  plot.setCursor({ left: plot.valToPos(plot.data[0][at], "x"), top: 0 }, true, true);
  choose(drawing, event.shiftKey ? (drawing.chosen ?? before ?? at) : null);
  speak(box);
}

function press(box, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const drawing = drawings.get(box.id);
  if (event.key === "Escape") leave(drawing);
  else if (event.key in MOVES) moveCrosshair(box, drawing, event);
  else if (event.key === "Enter" && drawing.chosen !== null) askForChosen(drawing);
  else return;
  event.preventDefault();
}

document.addEventListener("click", (event) => {
  const key = event.target.closest("button[data-series]");
  if (key) toggle(key);
});
document.addEventListener("keydown", (event) => {
  if (event.target.matches("[data-plot]")) press(event.target, event);
});
document.addEventListener("focusin", (event) => {
  focused = event.target.matches("[data-plot]") ? event.target.id : "";
});

// --- Drawing ---

function begin(box, text, hidden) {
  const numbers = JSON.parse(text);
  const swatches = keysOf(box).map((key) => key.querySelector(".swatch path"));
  const hooks = { setCursor: [(plot) => say(plot, numbers)], setSelect: [(plot) => chooseDragged(plot, numbers.step)] };
  const plot = new uPlot({ ...look(box, swatches, numbers), hooks }, columns(numbers), box);
  for (const number of hidden) plot.setSeries(number, { show: false });
  drawings.set(box.id, { plot, numbers, text, hidden, chosen: null });
}

function moveInto(box, text, drawing) {
  const numbers = JSON.parse(text);
  Object.assign(drawing, { numbers, text });
  // The steps have moved, so the selection would be another period.
  if (drawing.chosen !== null) choose(drawing, null);
  box.append(drawing.plot.root);
  drawing.plot.setData(columns(numbers));
  drawing.plot.syncRect(true);
}

function labels({ series }) {
  return series.map(({ label }) => label).join();
}

function draw(box) {
  const drawing = drawings.get(box.id);
  const text = box.dataset.plot;
  if (drawing?.plot.root.parentElement !== box || drawing.text !== text) {
    const numbers = JSON.parse(text);
    const sameLines = drawing && labels(drawing.numbers) === labels(numbers);
    if (sameLines && drawing.numbers.step === numbers.step) moveInto(box, text, drawing);
    else {
      drawing?.plot.destroy();
      begin(box, text, sameLines ? drawing.hidden : new Set());
    }
  }
  makeInteractive(box);
}

function makeInteractive(box) {
  const { hidden } = drawings.get(box.id);
  keysOf(box).forEach((key, index) => {
    key.ariaPressed = String(!hidden.has(index + 1));
  });
  box.tabIndex = 0;
  box.role = "group";
  box.ariaLabel = `${cardOf(box).querySelector("h2").textContent}. Arrow keys read the values step by step, Shift and arrow keys select a period, Enter shows it`;
  if (focused === box.id && document.activeElement === document.body) box.focus({ preventScroll: true });
  resized.observe(box);
}

function drawAll() {
  for (const box of document.querySelectorAll("[data-plot]")) draw(box);
  for (const [id, { plot }] of drawings) {
    if (plot.root.isConnected) continue;
    plot.destroy();
    drawings.delete(id);
  }
}

function redrawAll() {
  for (const box of document.querySelectorAll("[data-plot]")) {
    const { plot, text, hidden } = drawings.get(box.id);
    plot.destroy();
    begin(box, text, hidden);
  }
}

const resized = new ResizeObserver((boxes) => {
  for (const { target: box } of boxes) {
    const { plot } = drawings.get(box.id) ?? {};
    if (plot?.root.parentElement === box) plot.setSize({ width: box.clientWidth, height: box.clientHeight });
  }
});

document.addEventListener("zenith:swapped", drawAll);
document.addEventListener("zenith:theme", redrawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);
// The scales use the page's own font, which may load after this script.
document.fonts.ready.then(() => {
  for (const { plot } of drawings.values()) plot.redraw(false, true);
});
drawAll();
