// The side panel that shows a task without leaving the list: <a data-peek href="/tasks/ID/"> in a row. Without script the link
// leads to the task's page. keys.js opens it from the keyboard and goes on to the next row.

const { htmx } = window;
const panel = document.getElementById("peek");
let opener = null;

// Where the focus returns: to what opened the panel, or to its row if live updates or `j` and `k` have moved on.
function origin() {
  if (opener?.focused.isConnected) return opener.focused;
  return document.getElementById(opener?.row);
}

async function peek(link, focused = link) {
  opener = { focused, row: link.closest("[data-row]")?.id };
  await htmx.ajax("GET", `${link.href}peek/`, { source: panel, target: panel, swap: "innerHTML" });
  if (panel.childElementCount > 0 && !panel.open) panel.showModal();
}

// Shows the task of a row; false if the row has none.
export function peekAt(row) {
  const link = row?.querySelector("[data-peek]");
  if (link) peek(link, row);
  return Boolean(link);
}

export function isPeeking() {
  return panel.open;
}

export function closePeek() {
  panel.close();
}

// Goes to the next row that has a task, or with -1 to the one before.
export function peekOn(step) {
  const rows = [...document.querySelectorAll("#main [data-row]:has([data-peek])")];
  const at = rows.findIndex((row) => row.id === opener?.row);
  const next = rows[at + step];
  if (at >= 0 && next && peekAt(next)) next.scrollIntoView({ block: "nearest" });
}

document.addEventListener("click", (event) => {
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey;
  const link = plain && event.target.closest("[data-peek]");
  if (!link) return;
  event.preventDefault();
  peek(link);
});

panel.addEventListener("close", () => {
  panel.replaceChildren();
  origin()?.focus({ preventScroll: true });
  opener = null;
});
