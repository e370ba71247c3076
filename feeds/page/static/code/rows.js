// What rows of all lists share: a head that selects on the map, a line of facts, buttons.

import { element, setAttribute, setText } from "./dom.js";

/** A row: head (button), meta line, and a place for what more the list puts in. */
export class Row {
  constructor(name, onSelect) {
    this.badge = element("span", { class: "badge" });
    this.title = element("span", { class: "row-title" });
    this.head = element("button", { type: "button", class: "row-head", onclick: onSelect }, this.badge, this.title);
    this.meta = element("p", { class: "row-meta" });
    this.more = element("div", { class: "row-more" });
    this.node = element("li", { class: `row ${name}` }, this.head, this.meta, this.more);
  }

  show({ badge, tone, title, meta, current }) {
    setText(this.badge, badge);
    setAttribute(this.badge, "data-tone", tone);
    setText(this.title, title);
    setText(this.meta, meta.filter(Boolean).join(" · "));
    setAttribute(this.head, "aria-current", current ? "true" : null);
    setAttribute(this.node, "data-current", current ? "true" : null);
  }
}

export const button = (label, press, kind = "") =>
  element("button", { type: "button", class: kind, onclick: (event) => press(event.currentTarget) }, label);

/** A list with a sentence for when it is empty and one for what is cut off. */
export class ListFrame {
  constructor(root, empty, most = 80) {
    this.most = most;
    this.empty = element("p", { class: "empty" }, empty);
    this.items = element("ul", { class: "rows" });
    this.rest = element("p", { class: "empty" });
    root.append(this.empty, this.items, this.rest);
  }

  /** Return the items to show of `items`, after saying how many there are beyond. */
  cut(items) {
    this.empty.hidden = items.length > 0;
    const beyond = items.length - this.most;
    this.rest.hidden = beyond <= 0;
    if (beyond > 0) setText(this.rest, `and ${beyond.toLocaleString()} more`);
    return items.slice(0, this.most);
  }
}
