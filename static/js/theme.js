// Chooses between light and dark. The choice is kept in a cookie, so that the server renders the next page in it; without a
// choice the page follows the system.

const root = document.documentElement;
const YEAR = 31_536_000;

function mark() {
  for (const button of document.querySelectorAll("[data-theme-choice]")) {
    button.ariaPressed = String(button.dataset.themeChoice === (root.dataset.theme ?? "system"));
  }
}

document.addEventListener("click", (event) => {
  const choice = event.target.closest("[data-theme-choice]")?.dataset.themeChoice;
  if (!choice) return;
  if (choice === "system") delete root.dataset.theme;
  else root.dataset.theme = choice;
  const secure = location.protocol === "https:" ? "; Secure" : "";
  const age = choice === "system" ? 0 : YEAR;
  // biome-ignore lint/suspicious/noDocumentCookie: the Cookie Store API needs HTTPS, which localhost lacks
  document.cookie = `theme=${choice}; Path=/; Max-Age=${age}; SameSite=Lax${secure}`;
  mark();
  // Charts read their colours only when they are drawn.
  document.dispatchEvent(new CustomEvent("zenith:theme"));
});

mark();
