// The transcript: a long list of which only the visible rows exist, loaded as it is scrolled.

import { shownText } from "./zone_clock.js";

const ROW = 56;
const BEYOND = 600;
const NEAR = 1500;

export class ReadingList {
  /** actions: look(at), trouble(error). */
  constructor(element, data, clock, actions) {
    this.element = element;
    this.data = data;
    this.clock = clock;
    this.actions = actions;
    this.spacer = document.createElement("div");
    this.spacer.className = "rows";
    this.spacer.setAttribute("role", "list");
    element.replaceChildren(this.spacer);
    this.#clear();
    element.addEventListener("scroll", () => this.#scrolled());
    new ResizeObserver(() => this.#resized()).observe(element);
  }

  #clear() {
    this.parts = [];
    this.heights = [];
    this.tops = [0];
    this.shown = new Map();
    this.since = this.until = null;
    this.startsAll = this.endsAll = false;
    this.current = -1;
    this.turn = (this.turn ?? 0) + 1;
    this.abort?.abort();
    this.abort = new AbortController();
    this.loading = new Set();
    this.spacer.replaceChildren();
  }

  /** Show what was said at a time, and mark it. */
  async show(at) {
    this.wanted = at;
    if (this.since === null || at < this.since || at > this.until) {
      this.#clear();
      const { turn } = this;
      const { signal } = this.abort;
      try {
        const [before, after] = await Promise.all([this.data.said(at, true, signal), this.data.said(at, false, signal)]);
        if (turn !== this.turn) return;
        this.since = before.since;
        this.until = after.until;
        this.startsAll = before.is_end;
        this.endsAll = after.is_end;
        this.parts = this.#distinct([...before.parts, ...after.parts]);
        this.heights = this.parts.map(() => ROW);
        this.#measure(0);
      } catch (error) {
        if (error.name !== "AbortError") this.actions.trouble(error);
        return;
      }
    }
    this.#mark(at);
    if (this.current >= 0) this.#scrollTo(this.current);
    this.#render();
  }

  #distinct(parts) {
    const seen = new Set();
    return parts.filter((part) => {
      const key = `${part.kind} ${part.at} ${part.who} ${part.text}`;
      return !seen.has(key) && seen.add(key);
    });
  }

  /** Load what came since, if the end was loaded. */
  async refresh() {
    if (!this.endsAll || this.since === null) return;
    const { turn } = this;
    const last = this.parts.at(-1);
    const from = last ? last.at : this.since;
    const wasAtEnd = this.element.scrollTop + this.element.clientHeight > this.tops.at(-1) - 2 * ROW;
    const answer = await this.data.said(from, false, this.abort.signal).catch(() => null);
    if (!answer || turn !== this.turn) return;
    const kept = this.parts.findIndex((part) => part.at >= from);
    const first = kept < 0 ? this.parts.length : kept;
    this.parts.splice(first, this.parts.length, ...answer.parts);
    this.heights.splice(first, this.heights.length, ...answer.parts.map(() => ROW));
    this.until = answer.until;
    this.endsAll = answer.is_end;
    for (const [place, row] of this.shown) {
      if (place >= first) {
        row.remove();
        this.shown.delete(place);
      }
    }
    this.#measure(first);
    if (wasAtEnd) this.element.scrollTop = this.tops.at(-1);
    this.#render();
  }

  /** Return the time of the next, or the previous, sentence. */
  neighbour(step) {
    return this.parts[this.current + step]?.at ?? null;
  }

  async #load(earlier) {
    if (this.loading.has(earlier) || (earlier ? this.startsAll : this.endsAll) || this.since === null) return;
    this.loading.add(earlier);
    const { turn } = this;
    try {
      const answer = await this.data.said(earlier ? this.since : this.until, earlier, this.abort.signal);
      if (turn !== this.turn) return;
      if (earlier) {
        this.since = answer.since;
        this.startsAll = answer.is_end;
        this.#prepend(answer.parts);
      } else {
        this.until = answer.until;
        this.endsAll = answer.is_end;
        const first = this.parts.length;
        this.parts.push(...answer.parts);
        this.heights.push(...answer.parts.map(() => ROW));
        this.#measure(first);
      }
      this.#render();
    } catch (error) {
      if (error.name !== "AbortError") this.actions.trouble(error);
    } finally {
      if (turn === this.turn) this.loading.delete(earlier);
    }
  }

  #prepend(parts) {
    const count = parts.length;
    if (!count) return;
    this.parts.unshift(...parts);
    this.heights.unshift(...parts.map(() => ROW));
    this.shown = new Map([...this.shown].map(([place, row]) => [place + count, row]));
    if (this.current >= 0) this.current += count;
    const top = this.element.scrollTop;
    this.#measure(0);
    this.#setTop(top + this.tops[count]);
  }

  #measure(from) {
    this.tops.length = from + 1;
    for (let place = from; place < this.parts.length; place += 1) this.tops.push(this.tops[place] + this.heights[place]);
    this.spacer.style.height = `${this.tops.at(-1)}px`;
  }

  #setTop(top) {
    this.element.scrollTop = top;
  }

  #scrollTo(place) {
    const middle = this.tops[place] - this.element.clientHeight / 3;
    this.#setTop(Math.max(0, middle));
    // The rows above have been guessed: once they are drawn they are known.
    this.#render();
    this.#setTop(Math.max(0, this.tops[place] - this.element.clientHeight / 3));
  }

  #mark(at) {
    let place = this.parts.findLastIndex((part) => part.at <= at);
    if (place < 0 && this.parts.length) place = 0;
    this.current = place;
    for (const [number, row] of this.shown) row.classList.toggle("current", number === place);
  }

  #placeAt(top) {
    let first = 0;
    let last = this.parts.length;
    while (first < last) {
      const middle = (first + last) >> 1;
      if (this.tops[middle + 1] <= top) first = middle + 1;
      else last = middle;
    }
    return first;
  }

  #scrolled() {
    this.#render();
    if (this.element.scrollTop < NEAR) this.#load(true);
    if (this.element.scrollTop + this.element.clientHeight > this.tops.at(-1) - NEAR) this.#load(false);
  }

  #resized() {
    for (const row of this.shown.values()) row.remove();
    this.shown.clear();
    this.#render();
  }

  #render() {
    if (!this.parts.length) {
      this.#renderNothing();
      return;
    }
    if (this.nothing) {
      this.nothing.remove();
      this.nothing = null;
    }
    for (let again = 0; again < 4 && this.#renderOnce(); again += 1);
  }

  /** Draw the visible rows; return whether one has another height than was guessed. */
  #renderOnce() {
    const { scrollTop, clientHeight } = this.element;
    const first = this.#placeAt(scrollTop - BEYOND);
    const last = Math.min(this.parts.length, this.#placeAt(scrollTop + clientHeight + BEYOND) + 1);
    for (const [place, row] of this.shown) {
      if (place < first || place >= last) {
        row.remove();
        this.shown.delete(place);
      }
    }
    for (let place = first; place < last; place += 1) {
      if (!this.shown.has(place)) {
        const row = this.#row(this.parts[place], place);
        this.shown.set(place, row);
        this.spacer.append(row);
      }
    }
    const anchor = this.#placeAt(scrollTop);
    const within = scrollTop - this.tops[anchor];
    let changed = this.parts.length;
    for (const [place, row] of this.shown) {
      const height = row.offsetHeight;
      if (height && height !== this.heights[place]) {
        this.heights[place] = height;
        changed = Math.min(changed, place);
      }
    }
    if (changed < this.parts.length) {
      this.#measure(changed);
      if (changed < anchor) this.#setTop(this.tops[anchor] + within);
    }
    for (const [place, row] of this.shown) row.style.transform = `translateY(${this.tops[place]}px)`;
    return changed < this.parts.length;
  }

  #renderNothing() {
    if (this.nothing || this.since === null) return;
    this.nothing = document.createElement("p");
    this.nothing.className = "empty";
    this.nothing.textContent = "Nothing was said in the recording, as far as it was transcribed.";
    this.element.prepend(this.nothing);
  }

  #row(part, place) {
    const row = document.createElement("div");
    row.className = `row ${part.kind}`;
    row.setAttribute("role", "listitem");
    row.classList.toggle("current", place === this.current);
    const when = document.createElement("button");
    when.type = "button";
    when.className = "when";
    const before = this.parts[place - 1];
    const isNewDay = !before || this.clock.day(before.at) !== this.clock.day(part.at);
    when.textContent = isNewDay ? `${this.clock.weekday(part.at)} ${this.clock.day(part.at)} ${this.clock.second(part.at)}` : this.clock.second(part.at);
    when.addEventListener("click", () => this.actions.look(part.at));
    const who = document.createElement("span");
    who.className = "who";
    who.textContent = part.who;
    const text = document.createElement("p");
    text.textContent = shownText(part.text) + (part.unfinished ? " … [unfinished]" : "");
    row.append(when, who, text);
    return row;
  }
}
