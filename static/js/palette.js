// The command palette (Ctrl-K or Cmd-K): finds the page's links and buttons by typing. It has no list of its own: the entries
// are the navigation's links, and every element with data-palette (named by its value, or else by its text). A moment after
// somebody has typed, the server adds the tasks, names, queues, workers and applications that it finds (web/find.py).

const PAUSE = 150;
const LEAST = 2;

const palette = document.getElementById("palette");
const input = document.getElementById("palette-input");
const list = document.getElementById("palette-list");
let entries = [];
let found = [];
let timer = 0;
let chosen = 0;

function nameOf(element) {
  return element.dataset.palette || (element.querySelector("span") ?? element).textContent.trim();
}

function gather() {
  const elements = document.querySelectorAll(".nav a, [data-palette]");
  return Array.from(elements, (element) => ({
    name: nameOf(element),
    icon: element.querySelector(".icon"),
    run: () => element.click(),
  }));
}

function search(text) {
  const form = document.querySelector("form[role='search']");
  if (!form || !text) return [];
  const field = form.querySelector("[data-search]");
  const run = () => {
    field.value = text;
    form.requestSubmit();
  };
  return [{ name: `Search for “${text}”`, icon: form.querySelector(".icon"), run }];
}

// Every word must be the beginning of a word of the name.
function matches(name, words) {
  const parts = name.toLowerCase().split(/\s+/);
  return words.every((word) => parts.some((part) => part.startsWith(word)));
}

function shown() {
  const text = input.value.trim();
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return [...entries.filter((entry) => matches(entry.name, words)), ...found, ...search(text)];
}

function entryOf({ kind, name, detail, url }) {
  const icon = palette.querySelector(`[data-kind="${CSS.escape(kind)}"] .icon`);
  return { name, detail, icon, run: () => location.assign(url) };
}

// What was found for an earlier text stays until the answer for this one is here, so that the list does not flicker.
async function find() {
  const text = input.value.trim();
  if (text.length < LEAST) return;
  const response = await fetch(`${palette.dataset.find}?q=${encodeURIComponent(text)}`, {
    headers: { Accept: "application/json" },
  }).catch(() => null);
  if (!response?.ok || response.redirected || input.value.trim() !== text) return;
  found = (await response.json()).found.map(entryOf);
  draw();
}

function draw() {
  const rows = shown();
  chosen = Math.min(chosen, Math.max(0, rows.length - 1));
  list.replaceChildren(
    ...rows.map((entry, index) => {
      const row = document.createElement("li");
      row.id = `palette-${index}`;
      row.role = "option";
      row.ariaSelected = String(index === chosen);
      if (entry.icon) row.append(entry.icon.cloneNode(true));
      row.append(Object.assign(document.createElement("span"), { className: "cut", textContent: entry.name }));
      if (entry.detail)
        row.append(Object.assign(document.createElement("small"), { className: "muted", textContent: entry.detail }));
      row.addEventListener("click", () => run(entry));
      return row;
    }),
  );
  if (rows.length > 0) input.setAttribute("aria-activedescendant", `palette-${chosen}`);
  else input.removeAttribute("aria-activedescendant");
  list.children[chosen]?.scrollIntoView({ block: "nearest" });
}

function run(entry) {
  palette.close();
  entry?.run();
}

function reset() {
  entries = gather();
  found = [];
  input.value = "";
  chosen = 0;
  draw();
}

function open() {
  reset();
  palette.showModal();
}

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-open-dialog='palette']")) reset();
});

document.addEventListener("keydown", (event) => {
  if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey) return;
  event.preventDefault();
  if (palette.open) palette.close();
  else if (!document.querySelector("dialog[open]")) open();
});

input.addEventListener("input", () => {
  chosen = 0;
  if (input.value.trim().length < LEAST) found = [];
  draw();
  clearTimeout(timer);
  timer = setTimeout(find, PAUSE);
});

input.addEventListener("keydown", (event) => {
  const rows = shown();
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step && rows.length > 0) {
    event.preventDefault();
    chosen = (chosen + step + rows.length) % rows.length;
    draw();
  } else if (event.key === "Enter") {
    event.preventDefault();
    run(rows[chosen]);
  }
});
