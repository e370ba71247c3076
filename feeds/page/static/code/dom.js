// Makes elements. Everything that came over the network goes in as text, never as HTML.

/** Return an element; `members` are attributes, and `on<event>` listeners; children: nodes, texts. */
export function element(name, members = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(members)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Set a node's text if it differs: an unchanged node costs no layout and is not read out again. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Set or, with null, remove an attribute, if it differs. */
export function setAttribute(node, name, value) {
  if (value === null || value === undefined || value === false) node.removeAttribute(name);
  else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
}

export const byId = (id) => document.getElementById(id);

/**
 * A list of rows that lives on while its items change, so focus and reading place are kept.
 * `makeRow(item)` returns {node, update(item)}.
 */
export class KeyedList {
  constructor(parent, makeRow) {
    this.parent = parent;
    this.makeRow = makeRow;
    this.rows = new Map();
  }

  /** Show `items`, in order; each has `id`. Rows of unchanged items are left alone. */
  show(items) {
    const focused = document.activeElement;
    const wanted = new Set(items.map((item) => item.id));
    for (const [id, row] of this.rows) {
      if (!wanted.has(id)) {
        row.node.remove();
        this.rows.delete(id);
      }
    }
    let place = this.parent.firstElementChild;
    for (const item of items) {
      const row = this.#row(item);
      if (row.node === place) place = place.nextElementSibling;
      else this.parent.insertBefore(row.node, place);
    }
    // Moving a node takes the focus off it.
    if (focused !== document.activeElement && this.parent.contains(focused)) focused.focus();
  }

  #row(item) {
    let row = this.rows.get(item.id);
    if (!row) {
      row = this.makeRow(item);
      this.rows.set(item.id, row);
    }
    row.update(item);
    return row;
  }
}
