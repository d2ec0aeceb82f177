// One photo, large.

import * as api from "./api.js";
import { byId } from "./dom.js";

export class Viewer {
  constructor(act) {
    this.dialog = byId("viewer");
    const image = byId("large");
    image.addEventListener("load", () => this.absent(false));
    image.addEventListener("error", () => this.absent(true));
    byId("previous").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    byId("close").addEventListener("click", () => this.dialog.close());
    byId("more").addEventListener("click", () => this.done(1));
    byId("less").addEventListener("click", () => this.done(-1));
    this.act = act;
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => this.pane?.grid.focus(this.place()));
    this.dialog.addEventListener("keydown", (event) => this.key(event));
  }

  absent(is) {
    byId("absent").hidden = !is;
    byId("large").hidden = is;
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

  draw() {
    const { hit, pane } = this;
    byId("large").hidden = false;
    byId("absent").hidden = true;
    byId("large").src = api.view(pane.index.value, hit.id);
    byId("large").alt = hit.name;
    byId("name").textContent = hit.name;
    const score = hit.score === null ? "" : `score ${hit.score.toFixed(3)}`;
    byId("facts").textContent = [score, hit.taken, hit.folder].filter(Boolean).join(" \u00b7 ");
    byId("previous").disabled = this.place() === 0;
    byId("next").disabled = !pane.grid.hits[this.place() + 1];
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
    const { hit, pane } = this;
    this.pane = null; // what was shown is about to go
    this.dialog.close();
    this.act(hit, pane.index.value, weight);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
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
