// Selecting rows of a list. The checkboxes belong to a form and work without this script. The script adds an action bar in
// place of the filters, one checkbox for the page, ranges with Shift, and "all that match".
//
// <div data-select>                      has the bars and the list; data-selected is set while rows are selected
//   <form id="selection" data-select-bar>  the actions; [data-select-count] shows the number; data-matching="1240" on it
//     <input type="checkbox" name="all" value="1" data-select-all>
//     <button type="button" data-select-none>
//   <input type="checkbox" data-select-page>       in the table's head
//   <input type="checkbox" name="id" form="selection" data-row-box>   one per row
//
// Live updates replace the list while nothing is selected, so elements are looked up when they are needed.

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
  const listParts = parts(event.target);
  if (!listParts) return;
  const box = event.target.closest("[data-row-box]");
  if (box) {
    const from = listParts.boxes.indexOf(last);
    if (event.shiftKey && from >= 0) {
      const [start, end] = [from, listParts.boxes.indexOf(box)].sort((one, other) => one - other);
      for (const between of listParts.boxes.slice(start, end + 1)) between.checked = box.checked;
    }
    last = box;
  } else if (event.target.matches("[data-select-page]")) setAll(listParts, event.target.checked);
  else if (event.target.closest("[data-select-none]")) setAll(listParts, false);
  else if (!event.target.matches("[data-select-all]")) return;
  draw(listParts);
});

function clear() {
  for (const list of document.querySelectorAll("[data-select]")) {
    const listParts = parts(list);
    setAll(listParts, false);
    draw(listParts);
  }
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && document.querySelector("[data-selected]") && !document.querySelector("dialog[open]"))
    clear();
});
// After an action, clear the selection before live.js requests the list again.
document.addEventListener("zenith:changed", clear, { capture: true });
// Firefox keeps checkboxes checked across a reload.
for (const list of document.querySelectorAll("[data-select]")) draw(parts(list));
document.addEventListener("zenith:swapped", () => {
  for (const list of document.querySelectorAll("[data-select]")) draw(parts(list));
});
