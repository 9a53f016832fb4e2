// The dialog for the server's confirmation before an action, opened by
//   <a href="…" data-dialog>  and  <button formaction="…" formmethod="get" form="…" data-dialog>
// Without script both open the confirmation as a page. Any other <dialog id> opens with data-open-dialog="id".

const { htmx } = window;
const dialog = document.getElementById("dialog");

// Returns the address that this link opens, or that its form would open if this button submitted it.
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

// A click outside a dialog closes it.
document.addEventListener("click", (event) => {
  if (event.target instanceof HTMLDialogElement && event.target.open) {
    const box = event.target.getBoundingClientRect();
    const inside =
      event.clientX >= box.left &&
      event.clientX <= box.right &&
      event.clientY >= box.top &&
      event.clientY <= box.bottom;
    // Pressing Enter on a button is a click at 0, 0 with detail 0; it must not close the dialog.
    if (!inside && event.detail > 0) event.target.close();
  }
});

dialog.addEventListener("close", () => dialog.replaceChildren());

// A modal dialog covers the toasts, so a response closes it. It stays open if the server failed, or refused the form (422, or
// 429 for a password: the response is the form again, with its errors).
dialog.addEventListener("htmx:afterRequest", (event) => {
  const { requestConfig, xhr } = event.detail;
  const asksAgain = xhr.status === 422 || (xhr.status === 429 && xhr.responseText.includes('id="ask"'));
  if (requestConfig.verb !== "get" && xhr.status > 0 && xhr.status < 500 && !asksAgain) dialog.close();
});
