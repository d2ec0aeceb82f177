// Pictures, a few at a time. A browser has six connections to a server: were all of them waiting
// for photos to be decoded, a search would wait, too. What is nearest to the window comes first.
// Where a search is under way, none is begun.

const AT_ONCE = 4;
const QUICK = 80; // ms: what takes longer waits for a photo to be decoded

export class Images {
  constructor() {
    this.waiting = new Map(); // image -> {url, top}
    this.loading = new Map(); // image -> when it was asked for
    this.known = new WeakSet();
    this.middle = 0;
    this.held = false;
  }

  hold() {
    this.held = true;
  }

  // `top`: where it lies in the grid, in pixels.
  load(image, url, top) {
    this.waiting.set(image, { url, top });
    if (this.known.has(image)) return;
    this.known.add(image);
    const done = () => this.loading.delete(image) && !this.held && this.next();
    image.addEventListener("load", done);
    image.addEventListener("error", done);
  }

  // A picture that nobody needs any more. One that is long on its way is given up, and with it its
  // connection; another is soon there, and leaves its connection to the next request.
  drop(image) {
    this.waiting.delete(image);
    if (performance.now() - this.loading.get(image) > QUICK) {
      this.loading.delete(image);
      image.removeAttribute("src");
    }
  }

  // `middle`: of the window, in the grid's pixels.
  next(middle = this.middle) {
    this.middle = middle;
    this.held = false;
    while (this.loading.size < AT_ONCE && this.waiting.size) {
      let nearest = null;
      let least = Infinity;
      for (const [image, { top }] of this.waiting) {
        const away = Math.abs(top - middle);
        if (away < least) [nearest, least] = [image, away];
      }
      const { url } = this.waiting.get(nearest);
      this.waiting.delete(nearest);
      this.loading.set(nearest, performance.now());
      nearest.src = url;
    }
  }
}
