// What is asked for: words in the field, and beside them chips with more words and photos, each
// with a sign and a weight.

import * as api from "./api.js";
import { button, byId, complain, element } from "./dom.js";

const WEIGHTS = [1, 2, 0.5];

export class Parts {
  constructor(changed) {
    this.changed = changed;
    this.chips = [];
    this.query = byId("query");
    this.query.addEventListener("input", (event) => event.isComposing || changed());
    this.query.addEventListener("compositionend", () => changed());
    byId("plus").addEventListener("click", () => this.write(1));
    byId("minus").addEventListener("click", () => this.write(-1));
    const words = byId("words");
    byId("add").addEventListener("submit", (event) => {
      event.preventDefault();
      this.take();
    });
    words.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing) return;
      event.stopPropagation();
      this.unwrite();
    });
    words.addEventListener("blur", () => words.value.trim() || this.unwrite(false));
    byId("choose").addEventListener("click", () => byId("file").click());
    byId("file").addEventListener("change", (event) => {
      this.upload(event.target.files[0]);
      event.target.value = "";
    });
  }

  // As the API takes them.
  list() {
    const text = this.query.value.trim();
    const chips = this.chips.map(({ kind, value, weight }) => ({ [kind]: value, weight }));
    return text ? [{ text: this.query.value }, ...chips] : chips;
  }

  get empty() {
    return !this.query.value.trim() && !this.chips.length;
  }

  add(chip) {
    const same = this.chips.find(({ kind, value }) => kind === chip.kind && value === chip.value);
    if (same) same.weight = chip.weight;
    else this.chips.push(chip);
    this.draw();
    this.changed();
  }

  photo(hit, index, weight) {
    this.add({ kind: "photo", value: hit.id, name: hit.name, index, image: api.thumbnail(index, hit.id), weight });
  }

  clear() {
    this.restore("", []);
    this.changed();
  }

  // As the address holds it: words, and a text for each chip.
  get texts() {
    return this.chips.map(({ weight, kind, value, name, index }) => JSON.stringify([weight, kind, value, name, index]));
  }

  restore(words, texts) {
    this.query.value = words;
    this.chips = texts.flatMap((text) => {
      try {
        const [weight, kind, value, name, index] = JSON.parse(text);
        if (!Number.isFinite(weight) || !weight || !["text", "photo", "upload"].includes(kind)) return [];
        const image = kind === "photo" ? api.thumbnail(index, value) : kind === "upload" ? api.uploaded(value) : undefined;
        return [{ weight, kind, value: String(value), name: String(name), index, image }];
      } catch {
        return []; // an address that was written by hand
      }
    });
    this.draw();
  }

  // The small field for words beside the query.
  write(sign) {
    this.sign = sign;
    byId("words-label").textContent = sign > 0 ? "Also" : "Without";
    byId("add").hidden = false;
    byId("words").focus();
  }

  unwrite(back = true) {
    byId("add").hidden = true;
    byId("words").value = "";
    if (back) this.query.focus();
  }

  take() {
    const text = byId("words").value.trim();
    this.unwrite();
    if (text) this.add({ kind: "text", value: text, name: text, weight: this.sign });
  }

  async upload(file) {
    if (!file) return;
    if (this.limit && file.size > this.limit) {
      complain(`${file.name} is larger than ${this.limit >> 20} MiB. Save it as a smaller JPEG.`);
      return;
    }
    try {
      const { id } = await api.upload(file);
      const name = file.name || "a photo";
      this.add({ kind: "upload", value: id, name, image: api.uploaded(id), weight: 1 });
    } catch (problem) {
      complain(problem.message);
    }
  }

  draw() {
    const list = byId("chips");
    list.hidden = !this.chips.length;
    list.replaceChildren(...this.chips.map((chip) => this.chip(chip)));
  }

  chip(chip) {
    const { name, image } = chip;
    const again = (change, pressed) => () => {
      change();
      this.draw();
      byId("chips").children[this.chips.indexOf(chip)].querySelector(pressed).focus();
      this.changed();
    };
    const sign = chip.weight > 0;
    const size = Math.abs(chip.weight);
    const turn = again(() => (chip.weight = -chip.weight), ".sign");
    const weigh = again(() => {
      const next = WEIGHTS[(WEIGHTS.indexOf(size) + 1) % WEIGHTS.length];
      chip.weight = sign ? next : -next;
    }, ".weight");
    const remove = () => {
      this.chips = this.chips.filter((other) => other !== chip);
      this.draw();
      this.changed();
      this.query.focus();
    };
    return element(
      "li",
      { class: sign ? "chip" : "chip against" },
      button(sign ? "+" : "\u2212", `${name}: ${sign ? "wanted" : "not wanted"}. Reverse`, turn, "sign"),
      image ? element("img", { src: image, alt: "" }) : "",
      element("span", { text: name, title: name }),
      button(size === 0.5 ? "\u00bd\u00d7" : `${size}\u00d7`, `${name}: weight ${size}. Change`, weigh, "weight"),
      button("\u2715", `Remove ${name}`, remove, "remove"),
    );
  }
}
