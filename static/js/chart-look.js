// The options of a uPlot chart. Colours and dashes are read from the chart's legend, so that only the style sheet defines
// them; the scales use the box's own colours.

import { mark, marked, steps, TIMELINE } from "./chart-units.js";

const { uPlot } = window;
const FONT = "11px 'Inter Variable', system-ui, sans-serif";
// All charts of a page share one crosshair, but not the dragging, which would request the period once per chart.
const TOGETHER = { key: "page", filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } };

function tint(color) {
  return ({ ctx, bbox }) => {
    const down = ctx.createLinearGradient(0, bbox.top, 0, bbox.top + bbox.height);
    down.addColorStop(0, `color-mix(in srgb, ${color} 32%, transparent)`);
    down.addColorStop(1, `color-mix(in srgb, ${color} 2%, transparent)`);
    return down;
  };
}

// Draws a point for a value between two missing ones, which no line would show.
function lonely({ data }, index) {
  const known = (at) => data[index][at] !== null && data[index][at] !== undefined;
  return data[index].flatMap((_, at) => (known(at) && !known(at - 1) && !known(at + 1) ? [at] : []));
}

function line(swatch, filled, joined) {
  const { color, strokeDasharray } = getComputedStyle(swatch);
  const dash = strokeDasharray === "none" ? [] : strokeDasharray.split(",").map(Number.parseFloat);
  const points = { show: true, size: 5, fill: color, filter: lonely };
  return { stroke: color, width: 1.8, dash, points, spanGaps: joined, ...(filled ? { fill: tint(color) } : {}) };
}

function axes(box, unit) {
  const { color, borderTopColor } = getComputedStyle(box);
  const axis = { stroke: color, font: FONT, gap: 6, ticks: { show: false } };
  const times = (_, at, __, ___, between) => at.map((one) => mark(one, between));
  const values = (_, at) => at.map((one) => marked(unit, one));
  return [
    { ...axis, size: 24, incrs: TIMELINE, grid: { show: false }, values: times },
    { ...axis, size: 54, incrs: steps(unit), grid: { stroke: borderTopColor, width: 1 }, values },
  ];
}

export function look(box, swatches, { unit, series }) {
  return {
    width: box.clientWidth,
    height: box.clientHeight,
    // Half of the last label of the scale of times may stand right of the last step.
    padding: [8, 20, 0, 0],
    legend: { show: false },
    tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    cursor: { y: false, sync: TOGETHER, drag: { x: true, y: false, setScale: false } },
    scales: { y: { range: unit === "percent" ? [0, 100] : (_, __, most) => [0, most > 0 ? most * 1.08 : 1] } },
    axes: axes(box, unit),
    series: [{}, ...series.map(({ filled, joined }, index) => line(swatches[index], filled, joined))],
  };
}
