// Keeps the clock and every <time data-relative> current between two responses. Both use the server's clock, so that "3 s ago"
// does not depend on this machine's clock.
// The wording must match the `ago` template filter (tasks_app/web/templatetags/zenith.py).

const clock = document.getElementById("clock");
const offset = clock ? Date.parse(clock.dateTime) - Date.now() : 0;
const clockFormat = clock && new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: clock.dataset.zone });

function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return minutes % 60 ? `${hours} h ${minutes % 60} m` : `${hours} h`;
  return `${Math.floor(hours / 24)} d`;
}

function relative(seconds, style) {
  if (style === "age") return span(Math.max(0, seconds));
  if (Math.abs(seconds) < 1) return "now";
  return seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
}

function tick() {
  const now = Date.now() + offset;
  if (clock) clock.textContent = clockFormat.format(now);
  for (const time of document.querySelectorAll("time[data-relative]")) {
    const text = relative((now - Date.parse(time.dateTime)) / 1000, time.dataset.relative);
    if (time.textContent !== text) time.textContent = text;
  }
}

setInterval(() => {
  if (!document.hidden) tick();
}, 1000);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) tick();
});
document.addEventListener("zenith:swapped", tick);
tick();
