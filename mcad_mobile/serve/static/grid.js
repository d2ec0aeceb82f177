// Photos in rows, of which only those near the window are in the document: any number scrolls
// alike. Each is a list item with its place and the number of all, so that who does not see the
// page knows where they are. A new answer is drawn as far as the window shows it; the pictures
// follow when that is on screen, and the rows beyond when no other answer has taken its place.

import { element } from "./dom.js";
import { Images } from "./images.js";

const GAP = 12;
const CAPTION = 32;
const MARGIN = 600; // pixels beyond the window that are kept ready
const PAGE = 64;
const REST = 250; // ms: who types on has no use for rows beyond the window

// A message that is posted in a frame's callback is handled once that frame is drawn.
function painted(then) {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = then;
  requestAnimationFrame(() => port2.postMessage(0));
}

export class Grid {
  // `tile(hit, place, item)` makes a photo's item, or brings it up to date; `picture(hit)` says
  // where its picture is; `need(offset, limit)` fetches results from there on.
  constructor(place, { smallest, tile, picture, need, open }) {
    this.list = element("ol", { role: "list" });
    this.box = element("div", { class: "grid" }, this.list);
    place.append(this.box);
    this.smallest = smallest;
    this.tile = tile;
    this.picture = picture;
    this.need = need;
    this.open = open;
    this.hits = [];
    this.total = 0;
    this.shown = new Map(); // id -> {item, image, hit, drawn}
    this.images = new Images();
    this.current = 0;
    this.end = 0; // the place after the last that is drawn
    this.asked = new Set();
    this.width = 0;
    this.above = 0; // from the document's top to the grid's, in pixels
    addEventListener("scroll", () => this.later(), { passive: true });
    new ResizeObserver(([{ contentRect }]) => {
      if (contentRect.width !== this.width) this.later();
    }).observe(place);
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("click", (event) => this.click(event));
    this.list.addEventListener("focusin", (event) => this.focused(event));
  }

  // A new answer. `top`: the window is at the document's top, so that where the grid lies is known, and what is about to
  // go need not be laid out once more.
  show(hits, total, top) {
    const active = document.activeElement;
    const current = top ? undefined : this.hits[this.current]?.id;
    this.hits = hits.slice();
    this.total = total;
    this.asked.clear();
    this.current = Math.max(0, this.hits.findIndex(({ id }) => id === current));
    if (top && this.width) this.top = -this.above;
    else this.look();
    this.fill(0);
    if (this.list.contains(active)) active.focus({ preventScroll: true }); // an item that moves loses it
    painted(() => this.images.next(this.top + innerHeight / 2));
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.draw(), REST);
  }

  // A new answer is on its way, and comes first.
  hold() {
    this.images.hold();
  }

  // More of the same answer.
  add(offset, hits, total) {
    this.total = total;
    this.current = Math.min(this.current, Math.max(0, total - 1));
    hits.forEach((hit, number) => (this.hits[offset + number] = hit));
    // Keys may have gone where nothing was loaded yet.
    const focused = document.activeElement?.closest?.("li[data-place]");
    if (this.list.contains(focused) && Number(focused.dataset.place) !== this.current) this.focus(this.current);
    else this.draw();
  }

  // Where the grid lies.
  look() {
    const { width, top } = this.box.getBoundingClientRect();
    this.width = width;
    this.top = -top; // the window's in the grid
    this.above = top + scrollY;
  }

  measure() {
    this.columns = Math.max(1, Math.floor((this.width + GAP) / (this.smallest() + GAP)));
    this.side = (this.width - GAP * (this.columns - 1)) / this.columns;
    this.step = this.side + CAPTION + GAP;
  }

  // Where the photo at a place of the ranking lies: row, column, and pixels from the top.
  at(place) {
    return { top: Math.floor(place / this.columns) * this.step, column: place % this.columns };
  }

  range(from, to) {
    const rows = (pixels) => Math.floor(pixels / this.step);
    return [rows(from) * this.columns, (rows(to) + 1) * this.columns];
  }

  later() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.draw();
    });
  }

  draw() {
    clearTimeout(this.resting);
    this.look();
    this.fill(MARGIN);
    this.images.next(this.top + innerHeight / 2);
  }

  fill(margin) {
    if (!this.width) return;
    this.measure();
    const { top } = this;
    const end = this.total ? this.at(this.total - 1).top + this.step : 0;
    this.style("height", `${end}px`);
    this.style("--side", `${this.side}px`);
    let [first, last] = this.range(Math.max(0, top - margin), Math.max(0, top + innerHeight + margin));
    first = Math.max(0, first);
    last = Math.min(last, this.total);
    this.end = last;
    const wanted = new Map();
    for (let place = first; place < last; place++) {
      if (this.hits[place]) wanted.set(this.hits[place].id, place);
      else this.ask(place);
    }
    const spare = this.takeOut(wanted);
    // In the order of the ranking: who does not see the page reads them so. What stands where a new
    // photo comes in becomes its own: less is to be made and laid out.
    let after = this.list.firstElementChild;
    for (const [id, place] of wanted) {
      if (this.shown.has(id)) {
        while (spare.has(after)) after = after.nextElementSibling;
      } else if (spare.has(after)) {
        const held = spare.get(after);
        spare.delete(after);
        this.shown.set(id, held);
        held.image.removeAttribute("src");
        this.images.load(held.image, this.picture(this.hits[place]), this.at(place).top);
      }
      const item = this.put(id, place);
      if (item === after) after = after.nextElementSibling;
      else this.list.insertBefore(item, after);
    }
    for (const item of spare.keys()) item.remove();
  }

  // Photos that are not wanted any more. Items whose picture is not on its way may serve another.
  takeOut(wanted) {
    const spare = new Map();
    const focused = document.activeElement?.closest?.("li");
    for (const [id, held] of this.shown) {
      const { item, image } = held;
      if (wanted.has(id) || (item === focused && (this.hits[this.current]?.id ?? id) === id)) continue;
      this.shown.delete(id);
      this.images.drop(image);
      if (item === focused || !image.isConnected || this.images.loading.has(image)) item.remove();
      else spare.set(item, held);
    }
    return spare;
  }

  // Written only where it changes: a browser works for all that is written.
  style(name, value) {
    if (this.box.style.getPropertyValue(name) !== value) this.box.style.setProperty(name, value);
  }

  put(id, place) {
    const hit = this.hits[place];
    const { top, column } = this.at(place);
    let held = this.shown.get(id);
    if (!held) {
      const made = this.tile(hit, place, null);
      held = { item: made, image: made.querySelector("img"), hit };
      this.shown.set(id, held);
      this.images.load(held.image, this.picture(hit), top);
    } else if (held.hit !== hit) {
      this.tile(hit, place, held.item);
      held.hit = hit;
    }
    const { item } = held;
    const left = column * (this.side + GAP);
    const drawn = [place, this.total, left, top].join();
    if (held.drawn !== drawn) {
      held.drawn = drawn;
      item.style.left = `${left}px`;
      item.style.top = `${top}px`;
      item.setAttribute("aria-posinset", place + 1);
      item.setAttribute("aria-setsize", this.total);
      item.dataset.place = place;
    }
    const tab = place === this.current ? 0 : -1;
    if (item.firstChild.tabIndex !== tab) item.firstChild.tabIndex = tab;
    return item;
  }

  ask(place) {
    const offset = Math.floor(place / PAGE) * PAGE;
    if (this.asked.has(offset)) return;
    this.asked.add(offset);
    this.need(offset, PAGE);
  }

  // The keyboard: one photo is in the order of tabs, arrows lead to the others.

  focus(place) {
    if (!this.total) return false;
    this.current = Math.min(Math.max(place, 0), this.total - 1);
    this.look();
    this.measure();
    const { top } = this.at(this.current);
    const box = this.box.getBoundingClientRect();
    const bar = document.querySelector(".top").getBoundingClientRect().bottom;
    if (box.top + top < bar + GAP) scrollBy(0, box.top + top - bar - GAP);
    else if (box.top + top + this.step > innerHeight) scrollBy(0, box.top + top + this.step - innerHeight);
    this.draw();
    const held = this.shown.get(this.hits[this.current]?.id);
    held?.item.firstChild.focus({ preventScroll: true });
    return Boolean(held);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const rows = Math.max(1, Math.floor(innerHeight / this.step) - 1);
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.columns,
      ArrowDown: this.columns,
      PageUp: -rows * this.columns,
      PageDown: rows * this.columns,
      Home: -Infinity,
      End: Infinity,
    };
    const step = steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    if (event.key === "ArrowUp" && this.current < this.columns) {
      this.leave?.();
      return;
    }
    this.focus(this.current + step);
  }

  click(event) {
    const item = event.target.closest("li[data-place]");
    if (item && event.target.closest(".photo")) this.open(Number(item.dataset.place));
  }

  focused(event) {
    const item = event.target.closest("li[data-place]");
    if (!item) return;
    const before = this.shown.get(this.hits[this.current]?.id);
    if (before) before.item.firstChild.tabIndex = -1;
    this.current = Number(item.dataset.place);
    item.firstChild.tabIndex = 0;
  }
}
