// The lists as tabs where there is little room; where there is much, all are open at once.

import { byId, element, setText } from "./dom.js";

const ROOMY = matchMedia("(min-width: 1240px)");

/** `shown(name)`: whether that panel is to be kept up to date; `changed` after a switch. */
export class Tabs {
  constructor(names, changed) {
    this.changed = changed;
    this.tabs = new Map(names.map((name) => [name, this.#tab(name)]));
    this.chosen = names[0];
    byId("tabs").append(...this.tabs.values());
    ROOMY.addEventListener("change", () => this.#apply());
    this.#apply();
  }

  shown(name) {
    return ROOMY.matches || name === this.chosen;
  }

  choose(name) {
    this.chosen = name;
    this.#apply();
  }

  /** Say a number beside a tab's and a panel's title; null for none. */
  count(name, number) {
    const text = number === null ? "" : number.toLocaleString();
    setText(this.tabs.get(name).querySelector(".number"), text);
    setText(byId(`title-${name}`).querySelector(".number"), text);
  }

  #tab(name) {
    const title = byId(`title-${name}`);
    const label = title.textContent;
    title.append(element("span", { class: "number" }));
    return element(
      "button",
      {
        type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`,
        onclick: () => this.choose(name),
        onkeydown: (event) => this.#move(event, name),
      },
      label,
      element("span", { class: "number" }),
    );
  }

  #move(event, name) {
    const names = [...this.tabs.keys()];
    const at = names.indexOf(name);
    const to = {
      ArrowRight: (at + 1) % names.length,
      ArrowLeft: (at + names.length - 1) % names.length,
      Home: 0,
      End: names.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.choose(names[to]);
    this.tabs.get(names[to]).focus();
  }

  #apply() {
    const roomy = ROOMY.matches;
    byId("tabs").hidden = roomy;
    for (const [name, tab] of this.tabs) {
      const chosen = name === this.chosen;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
      const panel = byId(`panel-${name}`);
      panel.hidden = !roomy && !chosen;
      if (roomy) panel.removeAttribute("role");
      else panel.setAttribute("role", "tabpanel");
      panel.setAttribute("aria-labelledby", roomy ? `title-${name}` : `tab-${name}`);
    }
    this.changed();
  }
}
