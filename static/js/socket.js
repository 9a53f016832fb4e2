// The page's only socket:
// 1. It connects to the address in <body data-socket>, with the newest event id that the page has seen.
// 2. Each frame becomes a `zenith:frame` event, which live.js handles.
// 3. When the connection ends, the script reconnects with growing, jittered pauses; the mark in the header counts down.
// 4. After a laptop wakes up, a dead connection can look open. If a frame gets no answer in time, the socket is replaced.
//
// Other scripts listen to `zenith:open` (detail.again: not the first time) and `zenith:frame` (detail: the text), and send
// frames with `zenith:ask` (detail: the frame).

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
const ANSWER_WITHIN = 5000;
const ASK_EVERY = 25_000;
const SESSION_ENDED = 4401;
const NOT_ALLOWED = 4403;

const { body } = document;
const mark = document.getElementById("connection");
const word = document.getElementById("connection-word");

let socket = null;
let opened = false;
let failures = 0;
let nextTry = 0;
let timer = 0;
let heard = 0;

function tell(name, detail) {
  document.dispatchEvent(new CustomEvent(name, { detail }));
}

function address() {
  const url = new URL(body.dataset.socket, location.href);
  url.protocol = url.protocol.replace("http", "ws");
  if (body.dataset.after) url.searchParams.set("after", body.dataset.after);
  return url;
}

function connect() {
  clearTimeout(timer);
  const own = new WebSocket(address());
  socket = own;
  own.addEventListener("open", () => {
    heard = Date.now();
    if (failures > 0) tell("zenith:announce", "Live again");
    failures = 0;
    drawMark();
    tell("zenith:open", { again: opened });
    opened = true;
  });
  own.addEventListener("message", (event) => {
    if (own !== socket) return;
    heard = Date.now();
    tell("zenith:frame", event.data);
  });
  own.addEventListener("close", (event) => {
    if (own === socket) lost(event.code);
  });
}

function lost(code) {
  if (code === SESSION_ENDED) {
    show("ended", "Logged out: reload");
    tell("zenith:announce", "Your session has ended. Reload the page to log in again.");
    return;
  }
  if (code === NOT_ALLOWED) {
    show("ended", "Not live");
    return;
  }
  if (failures === 0) tell("zenith:announce", "Connection lost, reconnecting");
  const ceiling = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** failures);
  failures += 1;
  const pause = FIRST_PAUSE / 2 + Math.random() * (ceiling - FIRST_PAUSE / 2);
  nextTry = Date.now() + pause;
  timer = setTimeout(connect, pause);
  drawMark();
}

// Closing a dead connection can take minutes, so this does not wait for it.
function replace() {
  const dead = socket;
  socket = null;
  dead.close();
  connect();
}

function ask(frame) {
  if (socket?.readyState !== WebSocket.OPEN) return;
  const own = socket;
  const asked = Date.now();
  own.send(JSON.stringify(frame));
  setTimeout(() => {
    if (own === socket && heard < asked && own.readyState === WebSocket.OPEN) replace();
  }, ANSWER_WITHIN);
}

function show(state, text) {
  if (mark.dataset.state !== state) mark.dataset.state = state;
  if (word.textContent !== text) word.textContent = text;
}

function drawMark() {
  if (mark.dataset.state === "ended") return;
  if (socket?.readyState === WebSocket.OPEN) {
    if ("paused" in body.dataset) show("paused", "Paused");
    else show("live", "Live");
  } else if (!navigator.onLine) show("offline", "Offline");
  else if (failures === 0) show("connecting", "Connecting");
  else {
    const left = Math.ceil((nextTry - Date.now()) / 1000);
    show("reconnecting", left > 0 ? `Reconnecting in ${left} s` : "Reconnecting");
  }
}

function retryNow() {
  if (failures > 0 && mark.dataset.state !== "ended" && socket?.readyState === WebSocket.CLOSED) connect();
}

document.addEventListener("zenith:ask", (event) => ask(event.detail));
document.addEventListener("zenith:paused", drawMark);
window.addEventListener("online", retryNow);
window.addEventListener("offline", drawMark);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) retryNow();
});
// A page in the back-forward cache loses its socket without a close event.
window.addEventListener("pageshow", (event) => {
  if (event.persisted && socket?.readyState !== WebSocket.OPEN) replace();
});
setInterval(drawMark, 500);
setInterval(() => {
  if (!document.hidden) ask({ type: "PING" });
}, ASK_EVERY);
connect();
