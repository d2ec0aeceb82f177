// Indexing while the page is open: how far it is, and its end.

import * as api from "./api.js";
import { byId, complain, count, element } from "./dom.js";

export class Job {
  constructor(again) {
    this.again = again;
    byId("stop").addEventListener("click", () => this.press());
  }

  draw({ job, indexes, bundles }) {
    const place = byId("job");
    const written = indexes.find((index) => index.being_written);
    const folders = indexes.some((index) => index.folders_to_index.length);
    const note = [...indexes, ...bundles].map((served) => served.note).find(Boolean);
    this.running = job?.state === "running";
    const message = this.running ? running(job) : ended(job, written, note);
    place.hidden = !message && !folders;
    byId("bar").hidden = !this.running;
    if (this.running && job.total) byId("bar").value = job.done / job.total;
    if (this.running && !job.total) byId("bar").removeAttribute("value");
    byId("progress").textContent = message || "To index new photos, press Index again.";
    byId("stop").hidden = !this.running && !folders;
    byId("stop").textContent = this.running ? "Stop" : "Index again";
    this.skip(this.running ? [] : job?.skipped ?? []);
    place.classList.toggle("running", this.running);
    place.classList.toggle("failed", job?.state === "failed" || Boolean(note));
  }

  // Photos that could not be read, and why.
  skip(photos) {
    const place = byId("skipped");
    if (place.lastElementChild.childElementCount === photos.length) return;
    place.hidden = !photos.length;
    place.open = false;
    place.lastElementChild.replaceChildren(...photos.map((text) => element("li", { text })));
  }

  async press() {
    try {
      if (this.running) await api.stopIndexing();
      else await api.startIndexing({});
    } catch (problem) {
      complain(problem.message);
    }
    this.again();
  }
}

function running(job) {
  const folder = job.folder.split("/").filter(Boolean).pop() ?? job.folder;
  if (!job.total) return `Looking through ${folder}\u2026`;
  const speed = job.photos_per_s ? ` \u00b7 ${job.photos_per_s} a second` : "";
  const left = job.left_s === null ? "" : ` \u00b7 ${duration(job.left_s)} left`;
  return `Indexing ${folder}: ${job.done.toLocaleString("en")} of ${count(job.total, "photo")}${speed}${left}`;
}

function ended(job, written, note) {
  if (note) return note;
  if (written) return `Another process is indexing. ${count(written.photos, "photo")} can be searched so far.`;
  if (!job) return "";
  return { done: `Indexed ${job.message}`, failed: `Indexing failed: ${job.message}` }[job.state] ?? job.message;
}

function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds / 3600)} h`;
}
