// Keyboard shortcuts: `/` search, `g` then a letter for a page, `j` and `k` rows, `x` select, `p` or Space peeks, Enter opens, `?`
// help. They are ignored while typing, and can be turned off (WCAG 2.1.4). The pages come from the navigation.

import { closePeek, isPeeking, peekAt, peekOn } from "./peek.js";

const PATIENCE = 1500;
const OFF = "zenith-keys-off";
const TYPING = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]";

const help = document.getElementById("help");
const box = document.getElementById("single-keys");
let wentAt = 0;

function stored() {
  try {
    return localStorage.getItem(OFF) !== null;
  } catch {
    return false; // storage may be blocked; then the choice lasts as long as the page
  }
}

let off = stored();
box.checked = !off;
box.addEventListener("change", () => {
  off = !box.checked;
  try {
    if (off) localStorage.setItem(OFF, "");
    else localStorage.removeItem(OFF);
  } catch {
    // as above
  }
});

function pages() {
  return [...document.querySelectorAll("a[data-key]")];
}

function listPages() {
  document.getElementById("help-pages").replaceChildren(
    ...pages().map((link) => {
      const row = document.createElement("div");
      const keys = document.createElement("dt");
      const name = document.createElement("dd");
      for (const key of ["g", link.dataset.key]) {
        keys.append(Object.assign(document.createElement("kbd"), { textContent: key }), " ");
      }
      name.textContent = (link.querySelector("span") ?? link).textContent.trim();
      row.append(keys, name);
      return row;
    }),
  );
}

function openHelp() {
  listPages();
  help.showModal();
}

// Also if the profile menu opens it.
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-open-dialog='help']")) listPages();
});

function currentRow() {
  return document.activeElement?.closest("[data-row]");
}

function move(step) {
  const rows = [...document.querySelectorAll("#main [data-row]")];
  if (rows.length === 0) return;
  const at = rows.indexOf(currentRow());
  const row = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step))];
  row.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

const actions = {
  "/": () => (document.querySelector("#main [data-search]") ?? document.querySelector("[data-search]"))?.focus(),
  "?": openHelp,
  j: () => move(1),
  k: () => move(-1),
  p: () => peekAt(currentRow()),
  x: () => currentRow()?.querySelector("[data-row-box]")?.click(),
  g: () => {
    wentAt = Date.now();
  },
};

// In the side panel these go on to the next row; there they are the only shortcuts.
const peeking = { j: () => peekOn(1), k: () => peekOn(-1), p: closePeek };

function onlyPeekIsOpen() {
  return isPeeking() && document.querySelectorAll("dialog[open]").length === 1;
}

document.addEventListener("keydown", (event) => {
  if (off || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  if (event.target.closest?.(TYPING)) return;
  if (onlyPeekIsOpen()) {
    peeking[event.key]?.();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  // On a row only: Space presses buttons and scrolls the page.
  if (event.key === " ") {
    if (event.target.matches?.("[data-row]") && peekAt(event.target)) event.preventDefault();
    return;
  }
  if (event.key === "Enter") {
    if (event.target.matches?.("[data-row]"))
      (event.target.querySelector("[data-open]") ?? event.target.querySelector("a"))?.click();
    return;
  }
  const going = Date.now() - wentAt < PATIENCE;
  wentAt = 0;
  const page = going && pages().find((link) => link.dataset.key === event.key);
  if (page) {
    event.preventDefault();
    page.click();
    return;
  }
  if (Object.hasOwn(actions, event.key)) {
    event.preventDefault();
    actions[event.key]();
  }
});
