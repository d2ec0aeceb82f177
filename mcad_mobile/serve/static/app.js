// The page: what was asked goes to one side or to both, keys and dropped photos go to whom they
// concern, and the server's state is looked at now and then.

import * as api from "./api.js";
import { byId, calmDown, complain, element, hide, scrollToTop } from "./dom.js";
import { Job } from "./job.js";
import { Pane } from "./pane.js";
import { Parts } from "./parts.js";
import { Viewer } from "./viewer.js";

const COMPARED = 24;
const REST = 400; // ms: after a pause in typing, announce the result to screen readers, and update the address
const TYPING = 3000; // ms: words that are changed again so soon are one step for the browser's Back
const LOOK = { running: 500, idle: 2500 };
const FILTERS = ["folder", "after", "before", "place"];
const OPTIONS = ["by", "copies"];

const [left, right] = ["left", "right"].map(
  (id) => new Pane(byId(id), { query: () => query(), act, open: (pane, place) => viewer.show(pane, place), announce: say }),
);
const panes = [left, right];
const parts = new Parts(() => search());
const viewer = new Viewer(act);
const job = new Job(() => look());
let compared = false;
let generations = "";
let indexShown = "";

function query() {
  const filter = {};
  for (const id of FILTERS) if (byId(id).value) filter[id] = byId(id).value;
  const [by, copies] = OPTIONS.map((id) => byId(id).value);
  return { parts: parts.list(), filter, stack: copies !== "all", ...(by && { by }) };
}

// `anew`: what is asked has changed, so its answer is shown from the top.
function search(anew = true) {
  performance.mark("asked");
  clearTimeout(search.rest);
  search.rest = setTimeout(remember, REST);
  const { filter } = query();
  hide(byId("clear"), !Object.keys(filter).length);
  if (filter.after && filter.before && filter.after > filter.before) {
    for (const pane of panes) pane.empty("No photos: the last day is before the first", "Swap the two days.");
    return;
  }
  const both = compared && !parts.empty;
  document.body.classList.toggle("compared", both);
  left.hint = compared && !both ? "Side by side begins with your first words." : "";
  if (both) compare(anew);
  else {
    left.narrow = false;
    if (!byId("right").hidden) right.grid.show([], 0, null);
    byId("right").hidden = true;
    left.search(anew);
  }
}

// Words, parts and filters are in the address, so that Back, Forward and Reload ask the same again.
function address() {
  const asked = new URLSearchParams();
  for (const text of parts.texts) asked.append("part", text);
  for (const [name, value] of Object.entries(query().filter)) asked.set(name, value);
  for (const id of OPTIONS) if (byId(id).value) asked.set(id, byId(id).value);
  if (compared) asked.set("compare", 1);
  if (byId("details").ariaPressed === "true") asked.set("details", 1);
  const rest = asked.toString();
  if (parts.query.value) asked.set("q", parts.query.value);
  return { rest, whole: asked.size ? `#${asked}` : location.pathname };
}

function remember() {
  const now = address();
  const before = remember.before;
  if (now.whole === before.whole) return;
  const typed = now.rest === before.rest && performance.now() - before.at < TYPING;
  history[typed ? "replaceState" : "pushState"](null, "", now.whole);
  remember.before = { ...now, at: performance.now() };
}

function restore() {
  const asked = new URLSearchParams(location.hash.slice(1));
  parts.restore(asked.get("q") ?? "", asked.getAll("part"));
  for (const id of [...FILTERS, ...OPTIONS]) byId(id).value = asked.get(id) ?? "";
  for (const id of OPTIONS) if (byId(id).selectedIndex < 0) byId(id).value = "";
  detail(asked.has("details"));
  if (byId("folder").selectedIndex < 0) byId("folder").value = "";
  compared = asked.has("compare") && !byId("compare").hidden;
  byId("compare").setAttribute("aria-pressed", compared);
  remember.before = { ...address(), at: -TYPING };
  search();
}

async function compare(anew) {
  byId("right").hidden = false;
  for (const pane of panes) {
    pane.narrow = true;
    pane.stop();
  }
  const { signal } = left.asking;
  const asked = { ...query(), left: left.side, right: right.side, limit: COMPARED };
  try {
    const answer = await api.compare(asked, signal);
    const comparison = { shared: answer.shared, most: COMPARED };
    if (anew) scrollToTop();
    left.show(answer.left, anew, comparison);
    right.show(answer.right, anew, comparison);
    say(`Side by side: ${answer.shared} of the first ${COMPARED} photos are on both sides`);
    calmDown();
  } catch (problem) {
    for (const pane of panes) pane.failed(problem);
  }
}

function toggleCompare() {
  compared = !compared;
  byId("compare").setAttribute("aria-pressed", compared);
  search();
}

function detail(shown) {
  byId("details").setAttribute("aria-pressed", shown);
  document.body.classList.toggle("detailed", shown);
}

function toggleDetails() {
  detail(byId("details").ariaPressed !== "true");
  remember();
}

function act(hit, index, weight) {
  parts.photo(hit, index, weight);
  parts.query.focus({ preventScroll: true });
}

let saying = 0;
function say(sentence) {
  clearTimeout(saying);
  saying = setTimeout(() => (byId("live").textContent = sentence), REST);
}

// The server's state.

async function look() {
  clearTimeout(look.next);
  if (!document.hidden) {
    try {
      await draw(await api.status());
      byId("panes").classList.remove("lost");
    } catch (problem) {
      byId("panes").classList.add("lost");
      complain(problem.message);
    }
  }
  look.next = setTimeout(look, job.running ? LOOK.running : LOOK.idle);
}

async function draw(status) {
  parts.limit = status.upload_limit_bytes;
  job.draw(status);
  const offered = JSON.stringify(status.bundles);
  if (offered !== draw.offered) {
    draw.offered = offered;
    const [best, other] = choices(status);
    left.offer(status, best);
    right.offer(status, other);
    byId("compare").hidden = status.bundles.length < 2 && status.bundles[0].rungs.length < 2 && status.indexes.length < 2;
  }
  for (const pane of panes) pane.remember(status);
  const words = status.indexes.some((index) => index.has_words);
  for (const id of ["places", "channels"]) hide(byId(id), !words);
  const now = [...status.indexes, ...status.bundles].map(({ id, generation }) => `${id} ${generation}`).concat(status.job?.state).join();
  if (now !== generations) {
    await offerFolders();
    if (!generations) restore();
    else search(false);
    generations = now;
  }
}

// The best rung, and what it is most likely to be compared with.
function choices(status) {
  const all = status.bundles.flatMap((bundle) =>
    bundle.rungs.filter((rung) => !rung.why).map((rung) => ({ ...rung, value: JSON.stringify([bundle.id, rung.name]) })),
  );
  const best = all.find((rung) => rung.best) ?? all[0];
  const others = all.filter((rung) => rung.value !== best.value);
  const other = others.find((rung) => rung.name !== best.name && !rung.simulated) ?? others[0] ?? best;
  return [best.value, other.value];
}

async function offerFolders() {
  indexShown = left.index.value;
  const folders = await api.folders(indexShown);
  if (JSON.stringify(folders) === offerFolders.offered) return; // a list that is open would close
  offerFolders.offered = JSON.stringify(folders);
  const select = byId("folder");
  const chosen = select.value;
  const options = folders.map(({ id, name, depth, photos }) =>
    element("option", { value: depth ? id : "", text: `${"\u2003".repeat(depth)}${depth ? name : "all"} (${photos.toLocaleString("en")})` }),
  );
  select.replaceChildren(...(options.length ? options : [element("option", { value: "", text: "all" })]));
  select.value = folders.some(({ id }) => id === chosen) ? chosen : "";
  select.disabled = folders.length < 2;
}

// Keys, files, and controls.

const typing = (target) => target.closest("input, select, textarea, dialog");

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.defaultPrevented) return;
  const { key, target } = event;
  if (target === parts.query) {
    if (key === "ArrowDown" && left.grid.focus(0)) event.preventDefault();
    else if (key === "Escape" && !parts.empty) {
      event.preventDefault();
      parts.clear();
    } else if (key === "Escape") parts.query.blur();
    return;
  }
  if (typing(target)) return;
  const photo = target.closest(".pane li[data-place]");
  const done = { "/": () => parts.query.focus(), Escape: () => parts.query.focus(), "?": help, "+": () => parts.write(1), "-": () => parts.write(-1), c: () => byId("compare").hidden || toggleCompare(), d: toggleDetails };
  if (photo) {
    const pane = panes.find((pane) => pane.place.contains(photo));
    const hit = pane.grid.hits[Number(photo.dataset.place)];
    done.m = () => act(hit, pane.index.value, 1);
    done.x = () => act(hit, pane.index.value, -1);
  }
  const run = done[key.length === 1 ? key.toLowerCase() : key];
  if (!run) return;
  event.preventDefault();
  run();
});

for (const pane of panes) {
  pane.grid.leave = () => parts.query.focus();
  pane.bundle.addEventListener("change", () => {
    pane.offerIndexes();
    pane.index.dispatchEvent(new Event("change"));
  });
  pane.index.addEventListener("change", async () => {
    if (pane === left && left.index.value !== indexShown) await offerFolders();
    search();
  });
}

for (const id of [...FILTERS, ...OPTIONS]) byId(id).addEventListener("change", () => search());
byId("clear").addEventListener("click", () => {
  for (const id of FILTERS) byId(id).value = "";
  search();
  byId("folder").focus();
});
byId("compare").addEventListener("click", toggleCompare);
byId("details").addEventListener("click", toggleDetails);
byId("filters").addEventListener("click", (event) => {
  const open = byId("controls").classList.toggle("open");
  event.currentTarget.setAttribute("aria-expanded", open);
});
document.querySelector("form.search").addEventListener("submit", (event) => {
  event.preventDefault();
  if (matchMedia("(pointer: coarse)").matches) parts.query.blur(); // the keyboard on the screen goes
});

function help() {
  byId("keyboard").showModal();
}
byId("help").addEventListener("click", help);

let entered = 0;
const carriesFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
addEventListener("dragenter", (event) => {
  if (carriesFile(event)) byId("drop").hidden = ++entered === 0;
});
addEventListener("dragleave", (event) => {
  if (carriesFile(event)) byId("drop").hidden = --entered <= 0;
});
addEventListener("dragover", (event) => carriesFile(event) && event.preventDefault());
addEventListener("drop", (event) => {
  if (!carriesFile(event)) return;
  event.preventDefault();
  entered = 0;
  byId("drop").hidden = true;
  parts.upload(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
  if (!file) return;
  event.preventDefault();
  parts.upload(file);
});
addEventListener("visibilitychange", () => document.hidden || look());
addEventListener("popstate", restore);

look();
