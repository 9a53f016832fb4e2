// Keeps an open page up to date:
// 1. A frame of HTML (Overview) has whole fragments; each replaces the element with its id.
// 2. A CHANGED frame names topics. The elements with `data-refetch` that show one of them are requested again: one request per
//    address, at most two a second, with the ETag of the last response.
// 3. While the tab is hidden, rows or text are selected, a button is held down, a field is being filled in, <details data-hold>
//    is open or an action runs, nothing is replaced; afterwards the page requests everything it missed. It does the same after a reconnect.
// 4. A replacement keeps the keyboard focus, open <details> and popovers, scroll positions, and what a screen reader is reading.
//
// data-refetch=""          requested from the page's own address (with its filters); a value is another address
// data-on="queues workers" the topics it shows; by default those of the page's socket
// data-every="5"           requested every so many seconds, even without a frame
// data-announce="…"        announced to screen readers when it changes, at most every ten seconds

const LEAST_GAP = 500;
const MOST_GLOWING = 12;
const ANNOUNCE_EVERY = 10_000;
const FIELD = "input:not([type=checkbox], [type=radio], [type=button], [type=submit]), textarea, select";

const { htmx } = window;
const { body } = document;
const main = document.getElementById("main");
const ownTopics = (new URL(body.dataset.socket, location.href).searchParams.get("on") ?? "").split(",").filter(Boolean);

const etags = new Map();
const fetchedAt = new Map();
const lastHtml = new Map();
let missed = false;
let pressed = false;

// --- Pausing ---

function textSelected() {
  const selection = getSelection();
  return !selection.isCollapsed && main.contains(selection.anchorNode);
}

function rowsSelected() {
  return document.querySelector("[data-row-box]:checked") !== null;
}

function fillingIn() {
  return document.activeElement?.matches(FIELD) && document.activeElement.closest("[data-refetch]") !== null;
}

// Whether an htmx request is pending: its response would be lost if the element that made it were replaced.
function requestPending() {
  return main.querySelector(".htmx-request") !== null;
}

// Whether a panel with choices that are not sent yet is open: <details data-hold>.
function choosing() {
  return main.querySelector("details[data-hold][open]") !== null;
}

function onHold() {
  return (
    document.hidden || pressed || requestPending() || rowsSelected() || textSelected() || fillingIn() || choosing()
  );
}

function tell(name, detail) {
  document.dispatchEvent(new CustomEvent(name, { detail }));
}

function catchUp() {
  if (!missed || onHold()) return;
  missed = false;
  tell("zenith:ask", { type: "REFRESH" });
}

function drawPaused() {
  if (rowsSelected() === "paused" in body.dataset) return;
  if (rowsSelected()) body.dataset.paused = "";
  else delete body.dataset.paused;
  tell("zenith:paused");
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) missed = true;
  else catchUp();
});
document.addEventListener("selectionchange", catchUp);
document.addEventListener("htmx:afterRequest", () => setTimeout(catchUp));
document.addEventListener("focusout", () => setTimeout(catchUp));
document.addEventListener("toggle", catchUp, { capture: true });
for (const changes of ["change", "zenith:selected"]) {
  document.addEventListener(changes, () => {
    drawPaused();
    catchUp();
  });
}

// A link that is replaced between press and release would never get its click.
main.addEventListener("pointerdown", (event) => {
  pressed = event.button === 0;
});
for (const end of ["pointerup", "pointercancel", "blur"]) {
  window.addEventListener(end, () => {
    pressed = false;
    catchUp();
  });
}

// --- Replacing ---

// Scroll positions of boxes with an id. Recorded on scrolling, because reading them later would force a layout of the page.
const scrolled = new Map();
document.addEventListener("scroll", noteScroll, { capture: true, passive: true });

function noteScroll({ target: { id, scrollTop, scrollLeft } }) {
  if (scrollTop || scrollLeft) scrolled.set(id, { scrollTop, scrollLeft });
  else scrolled.delete(id);
}

function keepOpen(old, fresh) {
  for (const details of old.querySelectorAll("details[id]")) {
    const next = fresh.querySelector(`#${CSS.escape(details.id)}`);
    if (next) next.open = details.open;
  }
}

// If nearly everything is new, nothing stands out, and each glowing row costs a style recalculation in every animation frame.
function markArrived(old, fresh) {
  const known = new Set(Array.from(old.querySelectorAll("[data-row][id]"), (row) => row.id));
  const arrived = [...fresh.querySelectorAll("[data-row][id]")].filter((row) => !known.has(row.id));
  if (arrived.length > MOST_GLOWING) return;
  for (const row of arrived) row.classList.add("arrived");
}

function replace(old, fresh) {
  const active = old.contains(document.activeElement) ? document.activeElement.id : "";
  const panels = Array.from(old.querySelectorAll("[popover][id]:popover-open"), (panel) => panel.id);
  keepOpen(old, fresh);
  markArrived(old, fresh);
  old.before(fresh);
  htmx.remove(old);
  htmx.process(fresh);
  for (const id of panels) document.getElementById(id)?.showPopover();
  for (const [id, to] of scrolled) {
    const box = document.getElementById(id);
    if (box && fresh.contains(box)) Object.assign(box, to);
  }
  if (active) document.getElementById(active)?.focus({ preventScroll: true });
}

function parse(html) {
  const box = document.createElement("template");
  box.innerHTML = html;
  return box.content;
}

function exchange(pairs) {
  for (const [old, fresh] of pairs) {
    if (!old || !fresh || lastHtml.get(fresh.id) === fresh.outerHTML) continue;
    lastHtml.set(fresh.id, fresh.outerHTML);
    fresh.removeAttribute("hx-swap-oob");
    replace(old, fresh);
  }
  announce();
  tell("zenith:swapped");
}

let announced = { at: Date.now(), text: spoken() };

function spoken() {
  return document.querySelector("[data-announce]")?.dataset.announce;
}

function announce() {
  const text = spoken();
  if (!text || text === announced.text || Date.now() - announced.at < ANNOUNCE_EVERY) return;
  announced = { at: Date.now(), text };
  tell("zenith:announce", text);
}

// --- Requesting again ---

function topicsOf(element) {
  return element.dataset.on?.split(" ") ?? ownTopics;
}

function ownAddress() {
  return location.pathname + location.search;
}

function addressOf(element) {
  return element.dataset.refetch || ownAddress();
}

const pendingUrls = new Set();
let busy = false;

async function read(url) {
  fetchedAt.set(url, Date.now());
  const headers = { "HX-Request": "true", Accept: "text/html" };
  if (etags.has(url)) headers["If-None-Match"] = etags.get(url);
  const response = await fetch(url, { headers, cache: "no-store" });
  if (response.redirected && new URL(response.url).pathname === body.dataset.loginUrl) {
    location.assign(`${body.dataset.loginUrl}?next=${encodeURIComponent(ownAddress())}`);
    return;
  }
  if (response.status !== 200) return;
  const answer = parse(await response.text());
  if (onHold()) {
    missed = true;
    return;
  }
  // The page may have changed its filter meanwhile, so only elements of this address are replaced. The response may also be
  // the whole page.
  const elements = [...document.querySelectorAll("[data-refetch][id]")].filter((element) => addressOf(element) === url);
  exchange(elements.map((old) => [old, answer.querySelector(`#${CSS.escape(old.id)}`)]));
  const etag = response.headers.get("ETag");
  if (etag) etags.set(url, etag);
}

async function readPending() {
  if (busy) return;
  busy = true;
  try {
    while (pendingUrls.size > 0) {
      const urls = [...pendingUrls];
      pendingUrls.clear();
      await Promise.allSettled(urls.map(read));
      await new Promise((done) => setTimeout(done, LEAST_GAP));
    }
  } finally {
    busy = false;
  }
}

function refetch(concerns) {
  for (const element of document.querySelectorAll("[data-refetch]")) {
    if (concerns(element)) pendingUrls.add(addressOf(element));
  }
  readPending();
}

function onChanged({ topics, event_id: eventId }) {
  if (eventId !== undefined) body.dataset.after = eventId;
  if (onHold()) missed = true;
  else refetch((element) => topicsOf(element).some((topic) => topics.includes(topic)));
}

document.addEventListener("zenith:frame", ({ detail }) => {
  if (detail.startsWith("{")) {
    const frame = JSON.parse(detail);
    if (frame.type === "CHANGED") onChanged(frame);
  } else if (onHold()) missed = true;
  else exchange([...parse(detail).children].map((fresh) => [document.getElementById(fresh.id), fresh]));
});

// The server knows only for tasks what came after `data-after`; for other topics a change may have been missed.
document.addEventListener("zenith:open", ({ detail }) => {
  const exact = "after" in body.dataset && ownTopics.every((topic) => topic === "tasks");
  if (!detail.again && (exact || ownTopics.length === 0)) return;
  missed = true;
  catchUp();
});

// Shows the outcome of this page's own action without waiting for the socket. What htmx swaps in counts as new, too.
document.addEventListener("zenith:changed", () => setTimeout(() => refetch(() => true)));
document.addEventListener("htmx:oobAfterSwap", () => {
  lastHtml.clear();
  tell("zenith:swapped");
});

setInterval(() => {
  if (onHold()) return;
  const due = (element) => {
    const last = fetchedAt.get(addressOf(element)) ?? performance.timeOrigin;
    return "every" in element.dataset && Date.now() - last >= Number(element.dataset.every) * 1000;
  };
  if (document.querySelector("[data-every]")) refetch(due);
}, 1000);
