// The page's socket, as a story:
// 1. The htmx ws extension connects and swaps what the server pushes: whole fragments, never differences.
// 2. When the connection ends, it is tried again with growing, jittered pauses; the mark in the header counts down.
// 3. On every connect the server first sends a complete frame, and gets the last event id this page saw,
//    so nothing is missing after a break.
// 4. While the tab is hidden, or someone selects text in the stream or holds a button down on it, frames are dropped;
//    afterwards the page asks for a complete one.
// 5. A swap moves neither the keyboard focus nor what a screen reader is saying.

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
const ANSWER_WITHIN = 5000;
const ANNOUNCE_EVERY = 10_000;
const SESSION_ENDED = 4401;
// The codes after which the extension itself connects again; after any other it is done here.
const RETRIED_BY_HTMX = [1006, 1011, 1012, 1013];

const { htmx } = window;
const live = document.getElementById("live");
const mark = document.getElementById("connection");
const word = document.getElementById("connection-word");

let socket = null;
let wrapper = null;
let failures = 0;
let nextTry = 0;
let missed = false;
let pressed = false;
let heard = 0;

function say(text) {
  document.dispatchEvent(new CustomEvent("zenith:announce", { detail: text }));
}

// --- The connection ---

function pause() {
  const ceiling = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** failures);
  failures += 1;
  const delay = FIRST_PAUSE / 2 + Math.random() * (ceiling - FIRST_PAUSE / 2);
  nextTry = Date.now() + delay;
  return delay;
}

htmx.config.wsReconnectDelay = pause;

htmx.createWebSocket = (url) => {
  // The extension may still hold an older socket (its timer and ours can meet): only the newest one counts.
  if (socket && socket.readyState !== WebSocket.CLOSED) socket.close();
  const resume = new URL(url);
  resume.searchParams.set("after", document.getElementById("live-cursor").dataset.after);
  socket = new WebSocket(resume);
  return socket;
};

function reconnect() {
  if (wrapper && socket.readyState === WebSocket.CLOSED) wrapper.reconnect();
}

function show(state, text) {
  if (mark.dataset.state !== state) mark.dataset.state = state;
  if (word.textContent !== text) word.textContent = text;
}

function drawMark() {
  if (mark.dataset.state === "ended") return;
  if (socket?.readyState === WebSocket.OPEN) show("live", "Live");
  else if (!navigator.onLine) show("offline", "Offline");
  else if (failures === 0) show("connecting", "Connecting");
  else {
    const left = Math.ceil((nextTry - Date.now()) / 1000);
    show("reconnecting", left > 0 ? `Reconnecting in ${left} s` : "Reconnecting");
  }
}

document.addEventListener("htmx:wsOpen", (event) => {
  wrapper = event.detail.socketWrapper;
  if (failures > 0) say("Live again");
  failures = 0;
  drawMark();
});

document.addEventListener("htmx:wsClose", (event) => {
  const { code, target } = event.detail.event;
  wrapper = event.detail.socketWrapper;
  if (target !== socket) return;
  if (code === SESSION_ENDED) {
    show("ended", "Logged out: reload");
    say("Your session has ended. Reload the page to log in again.");
    return;
  }
  if (failures === 1 || (failures === 0 && !RETRIED_BY_HTMX.includes(code))) say("Connection lost, reconnecting");
  if (!RETRIED_BY_HTMX.includes(code)) setTimeout(reconnect, pause());
  drawMark();
});

window.addEventListener("online", reconnect);
window.addEventListener("offline", drawMark);
setInterval(drawMark, 500);

// --- Pausing ---

function selecting() {
  const selection = getSelection();
  return !selection.isCollapsed && live.contains(selection.anchorNode);
}

// A connection that slept with the laptop can look open and be dead; no answer in time means a new one.
function catchUp() {
  if (!missed || document.hidden || pressed || selecting() || socket?.readyState !== WebSocket.OPEN) return;
  missed = false;
  const asked = Date.now();
  wrapper.sendImmediately(JSON.stringify({ type: "REFRESH" }));
  setTimeout(() => {
    if (heard < asked && socket.readyState === WebSocket.OPEN) wrapper.reconnect();
  }, ANSWER_WITHIN);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) missed = true;
  else catchUp();
});
document.addEventListener("selectionchange", catchUp);

// A link that is swapped between press and release is never clicked.
live.addEventListener("pointerdown", (event) => {
  pressed = event.button === 0;
});
for (const end of ["pointerup", "pointercancel", "blur"]) {
  window.addEventListener(end, () => {
    pressed = false;
    catchUp();
  });
}

// --- Swapping ---

let focused = null;
let known = new Set();

function rows() {
  return Array.from(document.querySelectorAll("#stream tr[id]"), (row) => row.id);
}

document.addEventListener("htmx:wsBeforeMessage", (event) => {
  heard = Date.now();
  if (document.hidden || pressed || selecting()) {
    missed = true;
    event.preventDefault();
    return;
  }
  const active = document.activeElement;
  focused = live.contains(active) ? active.id : null;
  known = new Set(rows());
});

let announced = { at: Date.now(), text: document.getElementById("counters").dataset.announce };

function announceCounters() {
  const text = document.getElementById("counters").dataset.announce;
  if (text === announced.text || Date.now() - announced.at < ANNOUNCE_EVERY) return;
  announced = { at: Date.now(), text };
  say(text);
}

document.addEventListener("htmx:wsAfterMessage", () => {
  if (focused && document.activeElement?.id !== focused) {
    document.getElementById(focused)?.focus({ preventScroll: true });
  }
  for (const id of rows()) {
    if (!known.has(id)) document.getElementById(id).classList.add("arrived");
  }
  announceCounters();
});
