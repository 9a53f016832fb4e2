// Selecting rows of a list. The boxes belong to a form and work without this script, which adds: the bar of actions takes
// the place of the filters, one box for the page, ranges with Shift, and "all that match".
//
// <div data-select>                      holds the bars and the list; data-selected is set while rows are selected
//   <form id="selection" data-select-bar>  the actions; [data-select-count] says how many; data-matching="1240" on it
//     <input type="checkbox" name="all" value="1" data-select-all>
//     <button type="button" data-select-none>
//   <input type="checkbox" data-select-page>       in the table's head
//   <input type="checkbox" name="id" form="selection" data-row-box>   one a row
//
// The list is replaced while nothing is selected, so everything is looked up when it is needed.

let last = null;

function parts(within) {
  const list = within.closest("[data-select]");
  if (!list) return null;
  return {
    list,
    bar: list.querySelector("[data-select-bar]"),
    all: list.querySelector("[data-select-all]"),
    page: list.querySelector("[data-select-page]"),
    boxes: [...list.querySelectorAll("[data-row-box]")],
  };
}

function draw({ list, bar, all, page, boxes }) {
  const chosen = boxes.filter((box) => box.checked).length;
  const whole = boxes.length > 0 && chosen === boxes.length;
  if (all && !whole) all.checked = false;
  if (page) {
    page.checked = whole;
    page.indeterminate = chosen > 0 && !whole;
  }
  const matching = Number(bar.dataset.matching ?? 0);
  const everything = all?.checked === true;
  list.toggleAttribute("data-selected", chosen > 0);
  all?.closest("label")?.toggleAttribute("hidden", !(whole && matching > chosen));
  const number = everything ? matching : chosen;
  bar.querySelector("[data-select-count]").textContent = `${number.toLocaleString("en")} selected`;
  for (const box of boxes) box.closest("[data-row]")?.toggleAttribute("data-checked", box.checked);
  document.dispatchEvent(new CustomEvent("zenith:selected"));
}

function setAll({ boxes }, checked) {
  for (const box of boxes) box.checked = checked;
}

document.addEventListener("click", (event) => {
  const found = parts(event.target);
  if (!found) return;
  const box = event.target.closest("[data-row-box]");
  if (box) {
    const from = found.boxes.indexOf(last);
    if (event.shiftKey && from >= 0) {
      const [start, end] = [from, found.boxes.indexOf(box)].sort((one, other) => one - other);
      for (const between of found.boxes.slice(start, end + 1)) between.checked = box.checked;
    }
    last = box;
  } else if (event.target.matches("[data-select-page]")) setAll(found, event.target.checked);
  else if (event.target.closest("[data-select-none]")) setAll(found, false);
  else if (!event.target.matches("[data-select-all]")) return;
  draw(found);
});

function clear() {
  for (const list of document.querySelectorAll("[data-select]")) {
    const found = parts(list);
    setAll(found, false);
    draw(found);
  }
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.querySelector("[data-selected]") && !document.querySelector("dialog[open]"))
    clear();
});
// What was selected has been dealt with. Before live.js reads the list again.
document.addEventListener("zenith:changed", clear, { capture: true });
// Firefox keeps boxes checked over a reload.
for (const list of document.querySelectorAll("[data-select]")) draw(parts(list));
document.addEventListener("zenith:swapped", () => {
  for (const list of document.querySelectorAll("[data-select]")) draw(parts(list));
});
