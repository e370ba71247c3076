// Light or dark, and the colours of the theme for what is drawn on canvases and in charts.

const NAMES = [
  "--surface", "--text", "--text-soft", "--border", "--land", "--outside", "--border-area",
  "--los-a", "--los-b", "--los-c", "--los-d", "--los-e", "--los-f", "--los-none", "--severe",
  "--moderate", "--suspected", "--case", "--unit", "--route", "--focus", "--mark-edge",
  "--on-mark", "--sensor-ok", "--sensor-bad", "--series", "--usual", "--band", "--band-forecast",
];

let cached = null;

/** The theme's colours by CSS variable; asked of the browser once per theme. */
export function palette() {
  if (!cached) {
    const style = getComputedStyle(document.documentElement);
    cached = Object.fromEntries(NAMES.map((name) => [name, style.getPropertyValue(name).trim()]));
  }
  return cached;
}

/** Let `button` switch the theme; call `changed` after each change, also one of the system's. */
export function followTheme(button, changed) {
  const root = document.documentElement;
  const apply = (theme) => {
    root.dataset.theme = theme;
    cached = null;
    const other = theme === "dark" ? "light" : "dark";
    button.textContent = theme === "dark" ? "☀" : "☾";
    button.setAttribute("aria-label", `Switch to ${other} colours`);
    button.title = `Switch to ${other} colours`;
    changed();
  };
  button.addEventListener("click", () => {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem("theme", theme);
    apply(theme);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", (event) => {
    if (!localStorage.getItem("theme")) apply(event.matches ? "dark" : "light");
  });
  apply(root.dataset.theme);
}
