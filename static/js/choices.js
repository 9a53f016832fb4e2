// Filters a list of choices (`data-filtered-by`: the id of a search field) while one types, so that what is typed elsewhere on the
// page stays. Without script the field's form requests the page.

function filter(field) {
  const list = document.querySelector(`[data-filtered-by="${field.id}"]`);
  const text = field.value.trim().toLowerCase();
  let shown = 0;
  for (const choice of list.children) {
    choice.hidden = !choice.dataset.name.includes(text);
    if (!choice.hidden) shown += 1;
  }
  document.getElementById("no-choice").hidden = shown > 0 || list.children.length === 0;
}

function fieldOf(target) {
  return target.id && document.querySelector(`[data-filtered-by="${target.id}"]`) ? target : null;
}

document.addEventListener("input", (event) => {
  const field = fieldOf(event.target);
  if (field) filter(field);
});
document.addEventListener("submit", (event) => {
  const field = event.target.querySelector("input[type=search], input[data-search]");
  if (!field || !fieldOf(field)) return;
  event.preventDefault();
  const choices = document.querySelectorAll(`[data-filtered-by="${field.id}"] > :not([hidden]) a`);
  if (choices.length === 1) choices[0].click();
});
