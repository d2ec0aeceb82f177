// A few lines in place of a framework. Text is only ever set as text.

export const byId = (id) => document.getElementById(id);

export function element(name, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

export function button(text, label, press, kind = "quiet") {
  const made = element("button", { type: "button", class: kind, text, "aria-label": label });
  made.addEventListener("click", press);
  return made;
}

// Written only where it changes: a browser works for all that is written.
export function hide(place, is) {
  if (place.hidden !== is) place.hidden = is;
}

export const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;

let hiding = 0;
let untilAnswered = false;

// `search`: what failed is a search, so the next one's answer hides it.
export function complain(sentence, { search = false } = {}) {
  const place = byId("alert");
  place.textContent = sentence;
  place.hidden = false;
  untilAnswered = search;
  clearTimeout(hiding);
  hiding = setTimeout(() => (place.hidden = true), 6000 + 60 * sentence.length); // as long as it takes to read
}

export function calmDown() {
  if (untilAnswered) byId("alert").hidden = true;
}

// Only where it is not there: a browser lays out what has changed before it scrolls.
let down = false;
addEventListener("scroll", () => (down = scrollY > 0), { passive: true });
export function scrollToTop() {
  if (down) scrollTo(0, 0);
}
