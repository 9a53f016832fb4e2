// Completes the last word of a search. The browser's suggestion list completes only the whole field, so while somebody types,
// the text before the last word is put in front of each suggestion. Without script the list completes only the first word.
//
// <input list="words" data-complete> and <datalist id="words"> with an <option value="status:FAILURE"> for each word

const words = new WeakMap();

function wordsOf(list) {
  if (!words.has(list))
    words.set(
      list,
      Array.from(list.options, (option) => option.value),
    );
  return words.get(list);
}

document.addEventListener("input", ({ target }) => {
  if (!(target instanceof HTMLInputElement) || !("complete" in target.dataset) || !target.list) return;
  const before = target.value.slice(0, target.value.lastIndexOf(" ") + 1);
  const known = wordsOf(target.list);
  if ((target.list.dataset.before ?? "") === before) return;
  target.list.dataset.before = before;
  target.list.replaceChildren(
    ...known.map((word) => Object.assign(document.createElement("option"), { value: before + word })),
  );
});
