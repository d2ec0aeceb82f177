// One photo, large, or one video, which plays from the moment that was found.

import * as api from "./api.js";
import { button, byId, complain, element, hide } from "./dom.js";


export class Viewer {
  constructor(act) {
    this.dialog = byId("viewer");
    const image = byId("large");
    image.addEventListener("load", () => {
      this.absent(false);
      this.boxes();
    });
    image.addEventListener("error", () => this.absent(true));
    const film = byId("film");
    film.addEventListener("error", () => this.unplayable());
    // Browsers take a click on a video that is loaded; its buttons have done their work by then.
    film.addEventListener("click", () => setTimeout(() => film.paused && !film.readyState && film.play().catch(() => {})));
    byId("previous").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    byId("close").addEventListener("click", () => this.dialog.close());
    byId("more").addEventListener("click", () => this.done(1));
    byId("less").addEventListener("click", () => this.done(-1));
    byId("copy").addEventListener("click", () => this.copy());
    this.act = act;
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => {
      this.load(null);
      this.pane?.grid.focus(this.place());
    });
    this.dialog.addEventListener("keydown", (event) => this.key(event));
  }

  absent(is) {
    byId("absent").hidden = !is;
    byId("large").hidden = is;
  }

  // A video's address, or null: what was shown before gives its connection back.
  load(video) {
    const film = byId("film");
    hide(film, !video);
    if (film.hasAttribute("src")) {
      film.removeAttribute("src");
      film.load();
    }
    if (video) film.src = video;
  }

  unplayable() {
    if (!byId("film").hasAttribute("src")) return;
    this.load(null);
    byId("large").hidden = false;
    complain("This browser cannot play the video.");
  }

  show(pane, place) {
    this.pane = pane;
    this.hit = pane.grid.hits[place];
    this.last = place;
    this.draw();
    if (!this.dialog.open) this.dialog.showModal();
    byId("more").focus();
  }

  // Where it is now, or was last: while an index grows, others come before it.
  place() {
    const place = this.pane.grid.hits.findIndex((hit) => hit?.id === this.hit.id);
    if (place >= 0) this.last = place;
    return this.last;
  }

  // A copy of its stack in place of it, or itself.
  draw(copy = null) {
    const { pane } = this;
    const hit = { ...this.hit, ...copy };
    this.seen = copy ? { ...hit, score: null, taken: "", matched: [] } : hit;
    this.marks(copy);
    byId("large").hidden = false;
    byId("absent").hidden = true;
    byId("large").src = byId("film").poster = api.view(pane.index.value, hit.id, hit.at_ms);
    byId("large").alt = byId("film").ariaLabel = hit.name;
    // A media fragment: it plays from there.
    this.load(hit.video ? `${api.video(pane.index.value, hit.id)}#t=${(hit.at_ms ?? 0) / 1000}` : null);
    byId("name").textContent = hit.name;
    const score = this.seen.score === null ? "" : `score ${this.seen.score.toFixed(3)}`;
    byId("facts").textContent = [score, this.seen.taken, hit.folder].filter(Boolean).join(" \u00b7 ");
    byId("previous").disabled = this.place() === 0;
    byId("next").disabled = !pane.grid.hits[this.place() + 1];
  }

  // What matched, its boxes, the photos of its stack, and whether there is text to copy.
  marks(copy) {
    const { hit, pane } = this;
    byId("boxes").replaceChildren();
    byId("matched").replaceChildren(
      ...this.seen.matched.map(({ source, line }) => element("span", {}, `${source}: `, element("bdi", { text: line }))),
    );
    const stack = hit.copies.length ? [null, ...hit.copies] : [];
    byId("stack").replaceChildren(
      ...stack.map((other) => {
        const { id, name } = other ?? hit;
        const made = button("", name, () => this.draw(other), "plain");
        made.setAttribute("aria-pressed", id === (copy ?? hit).id);
        made.append(element("img", { src: api.thumbnail(pane.index.value, id), alt: "" }));
        return element("li", {}, made);
      }),
    );
    hide(byId("stack"), !stack.length);
    this.offerText(this.seen.id);
  }

  async offerText(id) {
    hide(byId("copy"), true);
    const index = this.pane.index.value;
    if (!this.pane.status.indexes.some((each) => each.id === index && each.has_words)) return;
    const { lines } = await api.text(index, id).catch(() => ({ lines: [] }));
    if (this.seen.id !== id) return;
    this.lines = lines;
    hide(byId("copy"), !lines.length);
  }

  async copy() {
    try {
      await navigator.clipboard.writeText(this.lines.join("\n"));
      byId("copy").textContent = "Copied";
      setTimeout(() => (byId("copy").textContent = "Copy text"), 1500);
    } catch {
      complain("The browser does not let this page copy.");
    }
  }

  // In the picture's own pixels, fitted as the picture is.
  boxes() {
    const { naturalWidth: across, naturalHeight: down } = byId("large");
    byId("boxes").setAttribute("viewBox", `0 0 ${across} ${down}`);
    byId("boxes").replaceChildren(
      ...this.seen.matched.filter(({ box }) => box).map(({ box }) => {
        const polygon = document.createElementNS(byId("boxes").namespaceURI, "polygon");
        const scaled = box.map((value, at) => (value * (at % 2 ? down : across)) / 10000);
        polygon.setAttribute("points", scaled.join(" "));
        return polygon;
      }),
    );
  }

  step(by) {
    const { grid } = this.pane;
    const place = this.place() + by;
    if (!grid.hits[place]) return;
    this.hit = grid.hits[place];
    this.last = grid.current = place;
    const ahead = place + 20;
    if (ahead < grid.total && !grid.hits[ahead]) grid.ask(ahead);
    this.draw();
  }

  done(weight) {
    const { seen, pane } = this;
    this.pane = null; // what was shown is about to go
    this.dialog.close();
    this.act(seen, pane.index.value, weight);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.id === "film") return;
    const key = event.key.toLowerCase();
    if (event.key === "ArrowLeft") this.step(-1);
    else if (event.key === "ArrowRight") this.step(1);
    else if (key === "m") this.done(1);
    else if (key === "x") this.done(-1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
