// A search: its form, its hits as a list, and the keys that go from one to the next.

import { shownText } from "./zone_clock.js";
import { button, element } from "./screen_panel.js";

const FIELDS = ["channel", "source", "session"];

export class SearchPanel {
  /** actions: look(at), shown(), searched(), found(), screens(), trouble(error). */
  constructor(form, panel, data, clock, actions) {
    this.form = form;
    this.panel = panel;
    this.data = data;
    this.clock = clock;
    this.actions = actions;
    this.query = null;
    this.hits = [];
    this.current = -1;
    this.words = form.querySelector("#words");
    this.regex = form.querySelector("#regex");
    this.fields = Object.fromEntries(FIELDS.map((name) => [name, form.querySelector(`#${name}`)]));
    this.when = form.querySelector("#when");
    this.times = null;
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.times = this.when.value ? this.actions.shown() : null;
      this.search({ reads: true });
    });
    this.words.addEventListener("search", () => this.words.value || this.search());
    this.#write("Type a word above, and press Enter.");
  }

  /** The query as parameters; null if nothing is asked for. */
  #asked() {
    const query = [];
    const text = this.words.value.trim();
    if (text) query.push(["q", text]);
    if (text && this.regex.checked) query.push(["regex", "1"]);
    for (const name of FIELDS) if (this.fields[name].value) query.push([name, this.fields[name].value]);
    if (query.length && this.times) query.push(["from", this.times[0]], ["to", this.times[1]]);
    return query.length ? query : null;
  }

  /** Fill the form from parameters, without a search. */
  fill(parameters) {
    this.words.value = parameters.get("q") ?? "";
    this.regex.checked = parameters.get("regex") === "1";
    for (const name of FIELDS) {
      const value = parameters.get(name) ?? "";
      const field = this.fields[name];
      if (value && ![...field.options].some((option) => option.value === value)) field.append(new Option(value, value));
      field.value = value;
    }
    const times = ["from", "to"].map((name) => Number(parameters.get(name) ?? NaN));
    this.times = times.every(Number.isSafeInteger) ? times : null;
    this.when.value = this.times ? "shown" : "";
  }

  /** Search in a time that was chosen, or at any time; again, if there is a search. */
  within(times) {
    if (String(times) === String(this.times)) return;
    this.times = times;
    this.when.value = times ? "shown" : "";
    if (this.query) this.search();
  }

  sessions(ids) {
    const field = this.fields.session;
    const known = new Set([...field.options].map((option) => option.value));
    for (const id of ids) if (!known.has(id)) field.append(new Option(id, id));
  }

  /** Search; whoever has asked by the form goes on to read the hits. */
  async search({ reads = false } = {}) {
    this.abort?.abort();
    this.abort = new AbortController();
    this.query = this.#asked();
    this.isFound = false;
    this.next = 0;
    this.hits = [];
    this.list = null;
    this.current = -1;
    this.words.removeAttribute("aria-invalid");
    this.actions.searched();
    if (!this.query) {
      this.#write("Type a word above, and press Enter.");
      return;
    }
    this.#write("Searching …");
    await this.#load(this.abort.signal);
    if (reads && this.hits.length) this.panel.focus({ preventScroll: true });
  }

  async #load(signal) {
    try {
      const answer = await this.data.hits(this.query, this.next ?? 0, signal);
      this.hits.push(...answer.hits);
      this.next = answer.next;
      this.#list();
      if (this.isFound) return;
      this.isFound = true;
      this.actions.found();
    } catch (error) {
      if (error.name === "AbortError") return;
      this.words.setAttribute("aria-invalid", "true");
      this.#write(error.hint ? `${error.message}: ${error.hint}` : error.message, "wrong");
    }
  }

  #write(text, className = "empty") {
    this.panel.replaceChildren(element("p", text, className));
  }

  #list() {
    if (!this.hits.length) {
      this.#write(`Nothing matched${this.times ? ` in ${this.#when()}` : ""}. Try fewer words, everything, or all sources.`);
      if (this.times) this.panel.append(button("Search at any time", () => this.within(null)));
      return;
    }
    const hasMore = this.next !== null;
    const count = hasMore ? `The newest ${this.hits.length} hits` : `${this.hits.length} ${this.hits.length === 1 ? "hit" : "hits"}`;
    const list = element("ol", "", "hits");
    this.rows = this.hits.map((hit, place) => this.#hit(hit, place));
    list.append(...this.rows);
    this.list = list;
    const more = hasMore ? [button("Older hits", () => this.#load(this.abort.signal))] : [];
    const where = this.times ? ` in ${this.#when()}` : "";
    this.panel.replaceChildren(element("p", `${count}${where}, newest first. n and N go through them.`, "count"), list, ...more);
    this.#mark();
  }

  /** The time that is searched, in words. */
  #when() {
    const [from, to] = this.times;
    const [first, last] = [this.clock.day(from), this.clock.day(to - 1)];
    if (this.clock.startOfDay(from) !== from || this.clock.startOfDay(to) !== to) return `${this.clock.full(from)} to ${this.clock.full(to)}`;
    return first === last ? `${this.clock.weekday(from)} ${first}` : `${first} to ${last}`;
  }

  #hit(hit, place) {
    const row = document.createElement("li");
    const made = button("", () => this.#go(place));
    made.append(element("span", this.clock.full(hit.at), "when"), " ", element("span", [hit.host, hit.label || hit.who].filter(Boolean).join(" "), "who"));
    if (hit.count > 1) made.append(" ", element("span", `×${hit.count} until ${this.clock.second(hit.end)}`, "times"));
    made.append(document.createElement("br"));
    const text = element("span", "", "snippet");
    let from = 0;
    for (const [first, last] of hit.marks) {
      text.append(hit.text.slice(from, first), element("mark", hit.text.slice(first, last)));
      from = last;
    }
    text.append(hit.text.slice(from));
    made.append(text);
    row.append(made);
    return row;
  }

  #go(place) {
    this.current = place;
    this.#mark();
    this.actions.look(this.hits[place].at);
  }

  #mark() {
    this.rows.forEach((row, place) => row.classList.toggle("current", place === this.current));
    this.rows[this.current]?.scrollIntoView({ block: "nearest" });
  }

  /** Say under the chosen hit what was on the screens then: that is what one searches for. */
  showScreens(at, screens) {
    this.list?.querySelector(".then")?.remove();
    if (this.hits[this.current]?.at !== at || !this.list) return;
    const made = element("div", "", "then");
    made.append(element("h4", screens.length ? "On the screens then" : "No screen was described then"));
    for (const screen of screens) {
      made.append(button([screen.host, screen.name].filter(Boolean).join(" "), () => this.actions.screens()), element("p", shownText(screen.text), "words"));
    }
    this.rows[this.current].append(made);
  }

  /** Go to the next (older) hit, or the one before it. */
  step(by) {
    const place = this.current + by;
    if (this.hits.length && place >= 0 && place < this.hits.length) this.#go(place);
  }
}
