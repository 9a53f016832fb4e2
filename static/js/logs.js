// A node's log as it comes. Lines are only ever appended, in blocks that the browser leaves undrawn while they are out of
// sight, and the oldest blocks go once there are more than MOST lines. The page's socket says that there are new ones;
// asking every few seconds as well tells the node's host that somebody still reads.
//
// Searching hides the lines without the text; pausing asks for nothing, and what came meanwhile is read when it goes on.

const MOST = 10_000;
const ASK_EVERY = 5000;
const NEAR_END = 40;

const box = document.getElementById("log-lines");
const search = document.getElementById("log-search");
const pause = document.getElementById("log-pause");
const state = document.getElementById("log-state");
const empty = document.getElementById("log-empty");

let { after } = box.dataset;
let paused = false;
let busy = false;
let again = false;

function atEnd() {
  return box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_END;
}

function toEnd() {
  box.scrollTop = box.scrollHeight;
}

// --- Searching ---

function sift(lines) {
  const wanted = search.value.toLowerCase();
  let found = 0;
  for (const line of lines) {
    line.hidden = wanted !== "" && !line.textContent.toLowerCase().includes(wanted);
    if (!line.hidden) found += 1;
  }
  return found;
}

function siftAll() {
  const lines = box.querySelectorAll("li");
  const found = sift(lines);
  if (search.value) state.textContent = `${found.toLocaleString("en")} of ${lines.length.toLocaleString("en")} lines`;
  else state.textContent = paused ? "paused" : "";
  empty.hidden = found > 0;
  toEnd();
}

search.addEventListener("input", siftAll);
search.form.addEventListener("submit", (event) => {
  event.preventDefault();
  siftAll();
});

// --- Following ---

function append(html) {
  const piece = document.createElement("template");
  piece.innerHTML = html;
  const lines = piece.content.querySelectorAll("li");
  if (lines.length === 0) return;
  const follow = atEnd();
  sift(lines);
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
      const response = await fetch(`${box.dataset.log}?after=${encodeURIComponent(after)}`, { cache: "no-store" });
      const next = response.headers.get("X-Log-After");
      if (response.status !== 200 || next === null) return;
      const more = next !== after;
      append(await response.text());
      after = next;
      again ||= more;
    } while (again && !paused);
  } catch {
    // The connection mark says so already; the next turn asks again.
  } finally {
    busy = false;
  }
}

pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  pause.querySelector("span").textContent = paused ? "Go on" : "Pause";
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
if (!("ended" in box.dataset)) {
  setInterval(ask, ASK_EVERY);
  ask();
}
