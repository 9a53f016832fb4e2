// What every page shares: toasts, copy buttons, menus, and the messages for failed htmx requests.

const toasts = document.getElementById("toasts");
const LINGER = 8000;

// Successes disappear by themselves, countdowns when they reach 0; warnings and errors stay until they are dismissed.
function settle(toast) {
  if (toast.dataset.settled) return;
  toast.dataset.settled = "yes";
  const seconds = toast.querySelector("[data-countdown]");
  if (seconds) {
    countDown(toast, Number(seconds.textContent), (left) => {
      seconds.textContent = left;
      if (left === 0) toast.remove();
    });
    return;
  }
  if (toast.matches(".toast-warning, .toast-error")) return;
  const leave = () => {
    if (toast.matches(":hover, :focus-within")) setTimeout(leave, 1000);
    else toast.remove();
  };
  setTimeout(leave, LINGER);
}

// Calls `show` with the remaining seconds, every second until 0 or until the element is removed. It reads the clock
// instead of counting calls: browsers run timers of background tabs less often.
function countDown(element, seconds, show) {
  const until = Date.now() + seconds * 1000;
  const timer = setInterval(tick, 1000);
  function tick() {
    const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
    if (left === 0 || !element.isConnected) clearInterval(timer);
    if (element.isConnected) show(left);
  }
  tick();
}

// Skips a sentence that is already shown, or a polling page would pile up copies.
function toast(level, text) {
  if (!toasts || Array.from(toasts.querySelectorAll("p")).some((p) => p.textContent === text)) return;
  const box = document.createElement("div");
  box.className = `toast toast-${level}`;
  box.append(Object.assign(document.createElement("p"), { textContent: text }));
  const close = Object.assign(document.createElement("button"), {
    type: "button",
    className: "icon-button",
    textContent: "×",
  });
  close.dataset.closeToast = "";
  close.setAttribute("aria-label", "Dismiss");
  box.append(close);
  toasts.append(box);
}

if (toasts) {
  new MutationObserver(() => toasts.querySelectorAll(".toast").forEach(settle)).observe(toasts, { childList: true });
  toasts.querySelectorAll(".toast").forEach(settle);
}

// A menu closes like a popover: by a click elsewhere or on one of its links, and with Escape, which returns the focus.
document.addEventListener("click", ({ target }) => {
  for (const menu of document.querySelectorAll("details.hint[open]")) {
    if (!menu.contains(target) || target.closest(".menu-item")) menu.open = false;
  }
});

document.addEventListener("keydown", (event) => {
  const menu =
    event.key === "Escape" && !document.querySelector("dialog[open]") && event.target.closest("details.hint");
  if (!menu?.open) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

async function copy(text, source) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Plain HTTP on another host has no clipboard API; with the text selected, one keystroke copies it.
  getSelection().selectAllChildren(source);
}

document.addEventListener("click", async (event) => {
  event.target.closest("[data-close-toast]")?.closest(".toast").remove();

  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  await copy(source.textContent, source);
  announce(navigator.clipboard ? "Copied" : "Selected: press Ctrl+C to copy");
  button.classList.add("copied");
  setTimeout(() => button.classList.remove("copied"), 1500);
});

// For screen readers only. Emptied first, because they would not read the same words twice.
function announce(text) {
  const announcer = document.getElementById("announcer");
  announcer.textContent = "";
  requestAnimationFrame(() => {
    announcer.textContent = text;
  });
}

document.addEventListener("zenith:announce", (event) => announce(event.detail));

// If the session has ended, the response is the login page; it belongs in the window, not in a fragment.
document.addEventListener("htmx:beforeSwap", (event) => {
  const login = document.body.dataset.loginUrl;
  const answered = event.detail.xhr.responseURL;
  if (!answered || new URL(answered).pathname !== login) return;
  event.preventDefault();
  location.assign(`${login}?next=${encodeURIComponent(location.pathname + location.search)}`);
});

document.addEventListener("htmx:responseError", (event) => {
  const { status } = event.detail.xhr;
  if (status === 503)
    toast("error", "The database or the broker is unreachable. Nothing was changed. Try again shortly.");
  else if (status === 403)
    toast("error", "You are not allowed to do this, or this page has been open too long. Reload it and try again.");
  else toast("error", `The request failed (${status}). Nothing was changed on this page.`);
});

document.addEventListener("htmx:sendError", () => {
  toast("error", "The server is unreachable. Check your connection and try again.");
});

// After a 429 the button says when it can be pressed again. It must keep the focus, so it is not `disabled`.
function coolDown(button, seconds) {
  const label = button.querySelector("span");
  const words = label.textContent;
  button.setAttribute("aria-disabled", "true");
  countDown(button, seconds, (left) => {
    label.textContent = left > 0 ? `Again in ${left} s` : words;
    if (left === 0) button.removeAttribute("aria-disabled");
  });
}

document.addEventListener("htmx:afterRequest", (event) => {
  const button = event.detail.elt.querySelector("[data-cools-down]");
  const seconds = Number(event.detail.xhr.getResponseHeader("Retry-After"));
  if (button && event.detail.xhr.status === 429 && seconds > 0) coolDown(button, seconds);
});

document.addEventListener(
  "click",
  (event) => {
    if (event.target.closest("[aria-disabled='true']")) event.preventDefault();
  },
  { capture: true },
);
