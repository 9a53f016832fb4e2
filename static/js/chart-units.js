// Formats values and times of a chart.
// Must match `Unit.shown` (tasks_app/web/charts.py) and the `duration` filter.

const DAY = 86_400;
const LOCALE = "en-GB";
const NOTHING = "—";

const grouped = new Intl.NumberFormat(LOCALE, { maximumFractionDigits: 0 });
const clock = new Intl.DateTimeFormat(LOCALE, { timeStyle: "short", timeZone: "UTC" });
const day = new Intl.DateTimeFormat(LOCALE, { day: "2-digit", month: "short", timeZone: "UTC" });

function rate(value) {
  if (value >= 100) return grouped.format(value);
  if (value >= 1 || value === 0) return value.toFixed(1).replace(/\.0$/, "");
  return String(Number(value.toPrecision(2)));
}

function duration(seconds) {
  if (seconds < 0.0095) return `${(seconds * 1000).toFixed(1)} ms`;
  if (seconds < 0.9995) return `${(seconds * 1000).toFixed(0)} ms`;
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return whole % 60 ? `${minutes} m ${whole % 60} s` : `${minutes} m`;
  const hours = Math.floor(minutes / 60);
  return minutes % 60 ? `${hours} h ${minutes % 60} m` : `${hours} h`;
}

const UNITS = {
  rate,
  percent: (value) => `${Math.round(value)} %`,
  seconds: (value) => (value === 0 ? "0" : duration(value)),
};

export function shown(unit, value) {
  return value === null || value === undefined ? NOTHING : UNITS[unit](value);
}

// Formats a mark of the scale of values.
export function marked(unit, value) {
  return shown(unit, value).replace(".0 ", " ");
}

// What a person would choose as the distance of two marks: 1, 2 or 5 of a power of ten; of times from a second up, TIME_STEPS of
// tasks_app/web/charts.py.
const DECIMALS = Array.from({ length: 42 }, (_, index) => [1, 2, 5][index % 3] * 10 ** (Math.floor(index / 3) - 5));
const TIMES = [
  ...DECIMALS.filter((one) => one < 1),
  ...[1, 2, 5, 10, 15, 30],
  ...[1, 2, 5, 10, 15, 30].map((minutes) => minutes * 60),
  ...[1, 2, 3, 6, 12].map((hours) => hours * 3600),
  ...[1, 2, 5, 7, 14, 30, 60, 90, 180, 365, 730].map((days) => days * DAY),
];

export function steps(unit) {
  return unit === "seconds" ? TIMES : DECIMALS;
}

// A chart's shortest step is a minute.
export const TIMELINE = TIMES.filter((one) => one >= 60);

// Formats a mark of the time scale; `between` is the number of seconds between two marks.
export function mark(seconds, between) {
  const midnight = seconds % DAY === 0;
  return (between >= DAY || midnight ? day : clock).format(seconds * 1000);
}

// Formats the period of a step: "24 Nov 08:15 – 08:20".
export function step(first, seconds) {
  const [from, until] = [first * 1000, (first + seconds) * 1000];
  if (seconds >= DAY) return day.format(from);
  return `${day.format(from)} ${clock.format(from)} – ${clock.format(until)}`;
}
