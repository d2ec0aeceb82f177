// One side: what searches there, its numbers, and its photos.

import * as api from "./api.js";
import { calmDown, complain, count, element, hide, scrollToTop } from "./dom.js";
import { Grid } from "./grid.js";
import { showLength } from "./lengths.js";

const FIRST = 64;
const STAGES = ["tokenize", "text", "scan", "rescore"];

const TILE = element("li", {},
  element("button", { type: "button", class: "photo" },
    element("span", { class: "frame" },
      element("img", { alt: "", decoding: "async", draggable: "false" }),
      element("span", { class: "length", hidden: true }),
    ),
  ),
);
// Copied whole: that is less work than making each of its parts.
const CAPTIONS = {
  scored: element("span", { class: "caption" }, element("b", { text: "0" }), " ", element("span", { class: "name", text: "0" }), " "),
  dated: element("span", { class: "caption" }, element("span", { class: "date", text: "0" }), " ", element("span", { class: "name unseen", text: "0" }), " "),
  named: element("span", { class: "caption" }, element("span", { class: "name", text: "0" }), " "),
};

export class Pane {
  constructor(place, { query, act, open, announce }) {
    this.place = place;
    this.query = query; // () -> {parts, filter}
    this.act = act; // (hit, index, weight): more or less like it
    this.announce = announce;
    this.hint = ""; // shown with the next answer
    this.bundle = element("select", { "aria-label": "Bundle and rung" });
    this.index = element("select", { "aria-label": "Index" });
    this.headline = element("h2", { class: "headline" });
    this.total = element("span", { class: "total", hidden: true });
    this.stages = new Map(STAGES.map((name) => [name, element("span", { class: "stage-ms", hidden: true }, `${name} `, element("b"))]));
    this.simulated = element("span", { text: "simulated, so no meaningful time", hidden: true });
    this.memory = element("span", { class: "memory", title: "Memory of this server's process (PSS)" });
    this.numbers = element("div", { class: "numbers" }, this.total, ...this.stages.values(), this.simulated, this.memory);
    this.notes = element("p", { class: "note", hidden: true });
    const choices = element("div", { class: "choices" }, this.bundle, this.index);
    place.append(
      element("header", { class: "summary" }, this.headline, choices, this.numbers, this.notes),
    );
    this.grid = new Grid(place, {
      smallest: () => (innerWidth < 600 ? 104 : this.narrow ? 128 : 156),
      tile: (hit, number, item) => this.tile(hit, number, item),
      picture: (hit) => api.thumbnail(this.index.value, hit.id, hit.at_ms),
      need: (offset, limit) => this.page(offset, limit),
      open: (number) => open(this, number),
    });
    // One for all photos: it goes to the one that the mouse is over.
    const like = element("button", { type: "button", class: "like", tabindex: "-1", title: "More like this (M)", "aria-hidden": "true", text: "more like this" });
    like.addEventListener("click", () => this.act(this.grid.hits[Number(like.parentElement.dataset.place)], this.index.value, 1));
    place.addEventListener("pointerover", (event) => {
      const item = event.target.closest("li[data-place]");
      if (item && item !== like.parentElement) item.append(like);
    });
  }

  // What can be chosen, from the server's status; `choice` is what is chosen first.
  offer(status, choice) {
    const chosen = this.bundle.value || choice;
    this.status = status;
    const groups = status.bundles.map((bundle) => {
      const rungs = bundle.rungs.map((rung) => {
        const suffix = rung.why ? " (cannot run here)" : rung.simulated ? " (simulated)" : "";
        const value = JSON.stringify([bundle.id, rung.name]);
        const text = status.bundles.length > 1 ? `${bundle.id}: ${rung.name}${suffix}` : `${rung.name}${suffix}`;
        return element("option", { value, text, title: rung.why, disabled: Boolean(rung.why) });
      });
      return status.bundles.length > 1 ? element("optgroup", { label: bundle.id }, ...rungs) : rungs;
    });
    this.bundle.replaceChildren(...groups.flat());
    this.bundle.value = chosen;
    if (this.bundle.selectedIndex < 0) this.bundle.value = choice;
    this.offerIndexes();
  }

  offerIndexes() {
    const [id] = JSON.parse(this.bundle.value);
    const held = this.status.bundles.find((bundle) => bundle.id === id).indexes;
    const chosen = this.index.value;
    this.index.replaceChildren(...held.map((name) => element("option", { value: name, text: name })));
    if (held.includes(chosen)) this.index.value = chosen;
    this.index.hidden = held.length < 2;
  }

  get side() {
    const [bundle, rung] = JSON.parse(this.bundle.value);
    return { bundle, rung, index: this.index.value };
  }

  // An answer that another query has overtaken is not shown; the server passes over what it has
  // not begun.
  async search(anew) {
    this.stop();
    const { signal } = this.asking;
    try {
      // An index that grows: what is looked at stays.
      const limit = anew ? FIRST : Math.min(Math.max(this.grid.current + FIRST, this.grid.end), 1000);
      const answer = await api.search({ ...this.query(), ...this.side, limit }, signal);
      if (anew) scrollToTop();
      this.show(answer, anew);
      calmDown();
    } catch (problem) {
      this.failed(problem);
    }
  }

  failed(problem) {
    if (problem.name === "AbortError") return;
    complain(problem.message, { search: true });
    this.grid.draw();
  }

  stop() {
    this.asking?.abort();
    this.asking = new AbortController();
    this.grid.hold();
  }

  async page(offset, limit) {
    const { signal } = this.asking;
    try {
      const answer = await api.search({ ...this.query(), ...this.side, offset, limit }, signal);
      this.grid.add(offset, answer.hits, answer.total);
    } catch (problem) {
      if (problem.name === "AbortError") return;
      this.grid.asked.delete(offset); // asked for again when it comes into view
      complain(problem.message, { search: true });
    }
  }

  // `anew`: from the top.
  show(answer, anew, { shared = null, most = null } = {}) {
    this.answer = answer;
    const total = most === null ? answer.total : Math.min(answer.total, most);
    this.grid.show(answer.hits, total, anew);
    this.headline.textContent = headline(answer, shared, total) || this.nothing(answer.index);
    this.count(answer);
    this.announce(this.headline.textContent);
    performance.mark("shown", { detail: answer.hits[0]?.id });
  }

  // Nothing can be found, and why.
  empty(headline, note) {
    this.stop();
    this.grid.show([], 0, true);
    this.headline.textContent = headline;
    this.notes.textContent = note;
    hide(this.notes, false);
    this.announce(`${headline}. ${note}`);
  }

  nothing(id) {
    const { filter, by } = this.query();
    const { folder, after, before, place } = filter;
    const index = this.status.indexes.find((each) => each.id === id);
    if (this.status.job?.state === "running" && !index.photos) return "The first photos appear here in a moment";
    if (!index.photos) return "This index holds no photos";
    const days = after && before ? `from ${after} to ${before}` : after ? `from ${after} on` : before ? `until ${before}` : "";
    const others = index.first_day ? `; there are photos from ${index.first_day} to ${index.last_day}` : "; no photo in this index has a date";
    if (by === "words") return "No photo has these words";
    return ["No photos", folder && "in this folder", place && `taken in ${place}`, days].filter(Boolean).join(" ") + (days ? others : "");
  }

  // ms by stage, as a bar that needs no legend: each part has its name on it.
  count(answer) {
    const { ms } = answer;
    for (const part of [this.total, ...this.stages.values()]) hide(part, !ms);
    hide(this.simulated, Boolean(ms) || !answer.simulated);
    if (ms) {
      this.total.textContent = `${ms.total.toFixed(1)} ms`;
      for (const [name, stage] of this.stages) {
        stage.lastChild.textContent = ms[name].toFixed(1);
        stage.style.setProperty("--share", `${(100 * ms[name]) / ms.total}%`);
      }
      // With a photo from outside, it is both towers that embed.
      const towers = this.query().parts.some((part) => part.upload) ? "towers " : "text ";
      this.stages.get("text").firstChild.data = towers;
    }
    this.remember(this.status);
    const notes = this.hint ? [this.hint] : [];
    const unknown = answer.unknown.slice(0, 9).map((word) => word.slice(0, 40));
    if (unknown.length) notes.push(`Not understood by the model: ${unknown.join(", ")}.`);
    if (answer.truncated) notes.push("Only the beginning of the text was used: it is longer than the model can read.");
    this.notes.textContent = notes.join(" ");
    hide(this.notes, !notes.length);
  }

  remember(status) {
    this.status = status;
    const { pss_mib: pss } = status.machine;
    const text = pss === null ? "" : `${pss.toFixed(0)} MiB PSS`;
    if (this.memory.textContent !== text) this.memory.textContent = text;
  }

  tile(hit, number, item) {
    const compared = this.narrow;
    const scored = hit.score !== null;
    const mark = !compared ? "" : hit.only_here ? "only here" : place(hit.elsewhere, number + 1);
    const caption = CAPTIONS[scored ? "scored" : hit.taken ? "dated" : "named"].cloneNode(true);
    if (scored || hit.taken) caption.firstChild.firstChild.data = scored ? hit.score.toFixed(3) : hit.taken;
    const name = caption.childNodes[scored || hit.taken ? 2 : 0];
    name.firstChild.data = hit.name;
    const [match] = hit.matched.filter(({ source }) => source !== "name"); // which is shown anyway
    if (match && !compared) caption.append(element("bdi", { class: "line", text: match.line, title: match.line }));
    if (compared || match) name.classList.add("unseen"); // announced even where it is not shown
    const copies = hit.copies.length;
    if (copies) caption.append(element("span", { class: "copies", text: `+${copies}`, "aria-label": count(copies, "near duplicate") }));
    if (mark) caption.append(element("span", { class: "mark", text: mark }));
    if (item) {
      item.firstChild.lastChild.replaceWith(caption);
    } else {
      item = TILE.cloneNode(true);
      item.firstChild.append(caption);
      const image = item.querySelector("img");
      image.addEventListener("error", () => {
        item.classList.add("gone");
        image.replaceWith(element("span", { class: "absent", text: "cannot be shown" }));
      });
    }
    showLength(item.querySelector(".length"), hit.video ? api.video(this.index.value, hit.id) : null);
    item.classList.toggle("only", compared && hit.only_here);
    return item;
  }
}

// What differs is marked, and only that.
function place(there, here) {
  if (there === here) return "";
  return there < here ? `\u2191 ${ordinal(there)} there` : `\u2193 ${ordinal(there)} there`;
}

function ordinal(number) {
  const last = number % 100;
  const ending = last > 10 && last < 14 ? "th" : { 1: "st", 2: "nd", 3: "rd" }[number % 10] ?? "th";
  return `${number}${ending}`;
}

function headline(answer, shared, total) {
  if (!answer.photos) return "";
  if (shared !== null) {
    const differ = answer.hits.filter((hit) => hit.only_here).length;
    return differ ? `${differ} of the first ${total} only here` : `The same ${total} on both sides`;
  }
  const found = count(answer.photos, "result"); // photos and videos
  return answer.hits[0]?.score == null ? found : `${found}, nearest first`;
}
