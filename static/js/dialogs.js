// One dialog for what the server asks before an action, opened by
//   <a href="…" data-dialog>  and  <button formaction="…" formmethod="get" form="…" data-dialog>
// Without script both simply lead to the page that asks. Any other <dialog id> opens by data-open-dialog="id".

const { htmx } = window;
const dialog = document.getElementById("dialog");

// What a GET form would put into the address if this button sent it.
function address(source) {
  if (source instanceof HTMLAnchorElement) return source.href;
  const action = source.getAttribute("formaction") ?? source.form?.getAttribute("action") ?? "";
  const url = new URL(action, location.href);
  if (source.form) url.search = new URLSearchParams(new FormData(source.form, source)).toString();
  return url.href;
}

async function open(source) {
  await htmx.ajax("GET", address(source), { source: dialog, target: dialog, swap: "innerHTML" });
  if (dialog.childElementCount > 0 && !dialog.open) dialog.showModal();
}

document.addEventListener("click", (event) => {
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey;
  const source = event.target.closest("[data-dialog]");
  if (source && plain) {
    event.preventDefault();
    open(source);
    return;
  }
  const opener = event.target.closest("[data-open-dialog]");
  if (opener) {
    opener.closest("[popover]")?.hidePopover();
    document.getElementById(opener.dataset.openDialog).showModal();
    return;
  }
  const closer = event.target.closest("[data-close-dialog]");
  const within = closer?.closest("dialog");
  if (within) {
    event.preventDefault();
    within.close();
  }
});

// A click beside a dialog closes it.
document.addEventListener("click", (event) => {
  if (event.target instanceof HTMLDialogElement && event.target.open) {
    const box = event.target.getBoundingClientRect();
    const inside =
      event.clientX >= box.left &&
      event.clientX <= box.right &&
      event.clientY >= box.top &&
      event.clientY <= box.bottom;
    // Enter on a button is a click at 0, 0, but on the button; so only the dialog's own clicks count.
    if (!inside && event.detail > 0) event.target.close();
  }
});

dialog.addEventListener("close", () => dialog.replaceChildren());

// Toasts lie under a modal dialog. An answer closes it; where the server could not answer, or refused what was filled in (422, or
// 429 for a password, which bring the form again with what is wrong), the question stays.
dialog.addEventListener("htmx:afterRequest", (event) => {
  const { requestConfig, xhr } = event.detail;
  const asksAgain = xhr.status === 422 || (xhr.status === 429 && xhr.responseText.includes('id="ask"'));
  if (requestConfig.verb !== "get" && xhr.status > 0 && xhr.status < 500 && !asksAgain) dialog.close();
});
