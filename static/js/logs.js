// Follows the log of a node or a task. Lines are only appended, in blocks that the browser does not draw while they are off screen; beyond
// MOST lines the oldest blocks are removed. The page's socket announces new lines. The script also polls every few seconds,
// which tells that somebody is still reading.
//
// Searching a node's log hides the lines without the text. A task's may be longer than what is here, so the server filters it
// (data-server-filter). While paused, nothing is requested; on resuming, the missed lines are read.

const MOST = 10_000;
const ASK_EVERY = 5000;
const NEAR_END = 40;
const TYPED_FOR = 250;

const box = document.getElementById("log-lines");
const search = document.getElementById("log-search");
const pause = document.getElementById("log-pause");
const state = document.getElementById("log-state");
const empty = document.getElementById("log-empty");

let { after } = box.dataset;
let paused = false;
let busy = false;
let again = false;
let typing;
let filtered = 0;

function atEnd() {
  return box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END;
}

function toEnd() {
  box.scrollTop = box.scrollHeight;
}

// --- Searching ---

function filterLines(lines) {
  const term = search.value.toLowerCase();
  let visible = 0;
  for (const line of lines) {
    line.hidden = term !== "" && !line.textContent.toLowerCase().includes(term);
    if (!line.hidden) visible += 1;
  }
  return visible;
}

function filterAll() {
  const lines = box.querySelectorAll("li");
  const visible = filterLines(lines);
  if (search.value) state.textContent = `${visible.toLocaleString("en")} of ${lines.length.toLocaleString("en")} lines`;
  else state.textContent = paused ? "paused" : "";
  empty.hidden = visible > 0;
  toEnd();
}

function filters() {
  return "serverFilter" in box.dataset ? `&${new URLSearchParams(new FormData(search.form))}` : "";
}

async function filterOnServer() {
  const asked = filters();
  const response = await fetch(`${box.dataset.log}?after=${asked}`, { cache: "no-store" }).catch(() => null);
  if (response?.status !== 200 || asked !== filters()) return;
  const html = await response.text();
  filtered += 1;
  box.innerHTML = html;
  after = response.headers.get("X-Log-After");
  empty.textContent = "No line matches.";
  empty.hidden = box.childElementCount > 0;
  document.getElementById("log-earlier")?.remove();
  toEnd();
}

search.form.addEventListener("input", () => {
  if (!("serverFilter" in box.dataset)) return filterAll();
  clearTimeout(typing);
  typing = setTimeout(filterOnServer, TYPED_FOR);
});
search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  if ("serverFilter" in box.dataset) filterOnServer();
  else filterAll();
});

// --- Following ---

function append(html) {
  const piece = document.createElement("template");
  piece.innerHTML = html;
  const lines = piece.content.querySelectorAll("li");
  if (lines.length === 0) return;
  const follow = atEnd();
  if (!("serverFilter" in box.dataset)) filterLines(lines);
  box.append(piece.content);
  let over = box.querySelectorAll("li").length - MOST;
  while (over > 0) {
    over -= box.firstElementChild.childElementCount;
    box.firstElementChild.remove();
  }
  empty.hidden = true;
  if (follow) toEnd();
}

async function ask() {
  if (paused || document.hidden) return;
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  try {
    do {
      again = false;
      const asked = filters();
      const begun = filtered;
      const response = await fetch(`${box.dataset.log}?after=${encodeURIComponent(after)}${asked}`, {
        cache: "no-store",
      });
      const next = response.headers.get("X-Log-After");
      if (response.status !== 200 || next === null) return;
      const html = await response.text();
      // What was asked for before the filter changed comes too late.
      if (asked !== filters() || begun !== filtered) return;
      const more = next !== after;
      append(html);
      if ("serverFilter" in box.dataset) empty.hidden = box.childElementCount > 0;
      after = next;
      again ||= more;
    } while (again && !paused);
  } catch {
    // The connection mark already shows it; the next poll tries again.
  } finally {
    busy = false;
  }
}

pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.querySelector("span").textContent = paused ? "Resume" : "Pause";
  state.textContent = paused ? "paused" : "";
  ask();
});

document.addEventListener("zenith:frame", ({ detail }) => {
  if (!detail.startsWith("{")) return;
  const frame = JSON.parse(detail);
  if (frame.type === "CHANGED" && frame.topics.includes(box.dataset.topic)) ask();
});
document.addEventListener("visibilitychange", ask);

toEnd();
// The page of a task has none of its lines.
if (!("ended" in box.dataset) || after === "") ask();
if (!("ended" in box.dataset)) setInterval(ask, ASK_EVERY);
