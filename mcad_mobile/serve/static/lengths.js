// How long videos are, as the browser finds out: one after another, to leave connections to
// searches and pictures, and only of those that are still shown when it is their turn.

import { element } from "./dom.js";

const known = new Map(); // address -> "1:07", or "" where the browser cannot tell
let last = Promise.resolve();

function clock(seconds) {
  if (!Number.isFinite(seconds)) return "";
  const parts = [Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60];
  if (seconds >= 3600) parts.unshift(Math.floor(seconds / 3600));
  return parts.map((part, at) => (at ? String(part).padStart(2, "0") : part)).join(":");
}

async function measure(url) {
  const film = element("video", { preload: "metadata" });
  const found = await new Promise((done) => {
    film.addEventListener("loadedmetadata", () => done(clock(film.duration)));
    film.addEventListener("error", () => done(""));
    film.src = url;
  });
  film.removeAttribute("src");
  film.load(); // gives its connection back
  return found;
}

// `place` shows it, and may show another video's or none before it is known.
export function showLength(place, url) {
  place.dataset.of = url ?? "";
  place.hidden = !url;
  place.textContent = known.get(url) ?? "";
  if (!url || known.has(url)) return;
  last = last.then(async () => {
    if (place.dataset.of !== url || !place.isConnected) return;
    if (!known.has(url)) known.set(url, await measure(url));
    if (place.dataset.of === url) place.textContent = known.get(url);
  });
}
