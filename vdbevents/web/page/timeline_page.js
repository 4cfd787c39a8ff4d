// The page: what is shown is kept in its address, so that each moment and each search has one.

import { ZoneClock, lengthText } from "./zone_clock.js";
import { TimeScale } from "./time_scale.js";
import { pageData } from "./page_data.js";
import { LaneCanvas, MapCanvas, laneName } from "./lane_canvas.js";
import { ReadingList } from "./reading_list.js";
import { ScreenPanel } from "./screen_panel.js";
import { SearchPanel } from "./search_panel.js";
import { FiguresPanel } from "./figures_panel.js";

const HOUR_MS = 3_600_000;
const RETRY_MS = 2000;
const SETTLED_MS = 80;
const ADDRESS_MS = 300;
const MAP_PARTS = 600;
const TABS = ["screens", "hits", "figures"];
const NARROW_PAGE = "(max-width: 760px)";
const THEMES = ["", "dark", "light"];

const byId = (id) => document.getElementById(id);

class TimelinePage {
  async start() {
    this.data = pageData();
    this.#chooseTheme(this.#storedTheme());
    this.recording = await this.#firstRecording();
    this.#clearTrouble();
    const { zone, offsets, hosts, can_play: canPlay } = this.recording;
    this.clock = new ZoneClock(zone, offsets);
    byId("zone").textContent = `Times: ${zone}`;
    const actions = {
      look: (at) => this.look(at),
      show: (since, until) => this.show(since, until),
      select: (since, until) => this.#select(since, until),
      searched: () => this.#searched(),
      found: () => this.#load(),
      shown: () => [this.view.since, this.view.until],
      search: (parameters) => this.#searchFor(parameters),
      seen: (at, screens) => this.search.showScreens(at, screens),
      screens: () => this.#openTab("screens"),
      trouble: (error) => this.#trouble(error),
    };
    this.lanes = new LaneCanvas(byId("lanes"), byId("tip"), this.clock, actions);
    this.lanes.several = hosts.length > 0;
    this.map = new MapCanvas(byId("map"), actions);
    this.reading = new ReadingList(byId("said"), this.data, this.clock, actions);
    this.screens = new ScreenPanel(byId("screens"), this.data, this.clock, actions);
    this.screens.canPlay = canPlay;
    this.search = new SearchPanel(byId("search"), byId("hits"), this.data, this.clock, actions);
    this.figures = new FiguresPanel(byId("figures"), this.data, this.clock, actions);
    this.#wire();
    await this.#open();
    this.data.listen({
      grown: () => this.#grown(),
      status: (statuses) => this.#status(statuses),
      lost: () => this.#say("the server does not answer", "lost"),
    });
    if (!this.data.isLive) byId("follow").hidden = true;
    new ResizeObserver(() => this.#resized()).observe(byId("lanes"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    document.documentElement.dataset.ready = "1";
  }

  /** Wait for a recording: there may be no journal yet. */
  async #firstRecording() {
    for (;;) {
      try {
        return await this.data.recording();
      } catch (error) {
        this.#trouble(error);
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  // What is shown.

  /** Show what the address says, else the last hour of the recording. */
  async #open() {
    const asked = new URLSearchParams(location.hash.slice(1));
    const span = this.recording.span ?? [this.recording.now - HOUR_MS, this.recording.now];
    const number = (name) => (/^-?\d{1,13}$/u.test(asked.get(name) ?? "") ? Number(asked.get(name)) : null);
    const at = number("at");
    const middle = at ?? span[1] - HOUR_MS / 2;
    const since = number("since") ?? Math.max(middle - HOUR_MS / 2, Math.min(span[0], middle));
    const until = number("until") ?? middle + HOUR_MS / 2;
    this.search.fill(asked);
    this.#loadMap();
    this.show(since, Math.max(until, since + 1000), { follows: false });
    await this.look(at ?? Math.min(span[1], Math.max(span[0], until)) - 1, { quiet: true });
    if (asked.get("q") || asked.get("channel") || asked.get("source") || asked.get("session")) {
      this.#openTab("hits");
      await this.search.search();
    }
  }

  show(since, until, { follows = false } = {}) {
    const scale = TimeScale.of(since, until, this.lanes.plotWidth);
    this.view = { since: scale.since, until: scale.until };
    if (!follows) this.#setFollowing(false);
    this.lanes.view = this.map.view = this.view;
    this.#draw();
    this.#head();
    this.#loadSoon();
    this.#keepAddress();
  }

  #loadSoon() {
    byId("lanes").setAttribute("aria-busy", "true");
    clearTimeout(this.settling);
    this.settling = setTimeout(() => this.#load(), SETTLED_MS);
  }

  #draw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => {
      this.lanes.draw();
      this.map.draw();
    });
  }

  /** Load what is shown: one answer at a time, and then the newest view, however often it has moved. */
  async #load() {
    this.isStale = true;
    if (this.isLoading) return;
    this.isLoading = true;
    byId("lanes").setAttribute("aria-busy", "true");
    while (this.isStale) {
      this.isStale = false;
      await this.#loadOnce().catch((error) => this.#trouble(error));
    }
    this.isLoading = false;
    byId("lanes").setAttribute("aria-busy", "false");
    if (!byId("figures").hidden) this.figures.show(...this.#asked());
  }

  async #loadOnce() {
    const { since, until } = this.view;
    const parts = Math.max(50, Math.min(4000, Math.round(this.lanes.plotWidth)));
    this.lanes.answer = await this.data.timeline(since, until, parts);
    this.search.sessions(this.lanes.answer.sessions.map((one) => one.id));
    this.#clearTrouble();
    this.#describe();
    this.#draw();
    this.#readAlong();
    if (!this.isStale) this.#loadMarks(since, until, Math.min(parts, 1000));
  }

  /** What is read beside the timeline follows it. */
  #readAlong() {
    const { since, until } = this.view;
    const { answer } = this.lanes;
    // An answer to what was shown before says nothing about this.
    if (answer.since !== since || answer.until !== until) return;
    const fromBeginning = this.readsBeginning;
    this.readsBeginning = false;
    if (this.following || this.at === undefined || this.isStale) return;
    if (!fromBeginning && this.at >= since && this.at < until) return;
    const part = (answer.until - answer.since) / answer.parts;
    const begins = answer.events ? answer.events.map((one) => one.at) : answer.lanes.flatMap((lane) => lane.counts.map(([place]) => answer.since + place * part));
    const inView = begins.filter((at) => at > since - part && at < until);
    if (!inView.length) return;
    const isFirst = fromBeginning || this.at < since;
    const at = inView.reduce((one, other) => (isFirst ? Math.min(one, other) : Math.max(one, other)));
    this.look(Math.round(Math.max(since, Math.min(until - 1, at + (answer.events ? 0 : part - 1)))), { quiet: true });
  }

  /** Mark the hits: beside the events, which need not wait for a search. */
  async #loadMarks(since, until, parts) {
    this.marking?.abort();
    const { query } = this.search;
    if (!query || !this.search.isFound) return;
    this.marking = new AbortController();
    try {
      const marks = await this.data.marks(query, since, until, parts, this.marking.signal);
      if (query !== this.search.query) return;
      this.lanes.marks = marks;
      this.#describe();
      this.#draw();
    } catch (error) {
      if (error.name !== "AbortError") this.#trouble(error);
    }
  }

  async #loadMap() {
    const span = this.recording.span;
    if (!span) return;
    try {
      this.map.whole = await this.data.timeline(span[0], Math.max(span[1], span[0] + 1000), MAP_PARTS);
      this.#draw();
    } catch (error) {
      this.#trouble(error);
    }
  }

  /** Look at a moment: what was said then, and what was on the screens. */
  async look(at, { quiet = false } = {}) {
    this.at = at;
    this.lanes.at = at;
    if (!quiet && (at < this.view.since || at >= this.view.until)) {
      const half = (this.view.until - this.view.since) / 2;
      this.show(at - half, at + half);
    }
    this.#draw();
    this.#keepAddress();
    if (!quiet && byId("hits").hidden) this.#openTab("screens");
    await Promise.all([this.reading.show(at), this.screens.show(at)]);
  }

  #head() {
    const { since, until } = this.view;
    const { clock } = this;
    const last = until - 1;
    const sameDay = clock.day(since) === clock.day(last);
    const isLong = until - since > 14 * 24 * HOUR_MS;
    const from = isLong ? clock.day(since) : `${clock.weekday(since)} ${clock.day(since)} ${clock.second(since)}`;
    const to = isLong ? clock.day(last) : sameDay ? clock.second(until) : `${clock.weekday(until)} ${clock.day(until)} ${clock.second(until)}`;
    byId("window").textContent = `${from} to ${to}, ${lengthText(until - since)}`;
    this.#files();
  }

  /** Say in words what the canvas shows. */
  #describe() {
    const { lanes, sessions, gaps, pauses } = this.lanes.answer;
    const counts = lanes.map((lane) => `${laneName(lane, this.lanes.several)}: ${lane.counts.reduce((sum, [, count]) => sum + count, 0)} events`);
    counts.push(`${sessions.length} sessions`, `${gaps.length} gaps`, `${pauses.length} pauses`);
    const { marks } = this.lanes;
    if (marks) counts.push(`${marks.counts.reduce((sum, [, count]) => sum + count, 0)} hits of the search`);
    byId("summary").textContent = `${byId("window").textContent}. ${counts.join(", ")}.`;
  }

  /** The time that statistics, files and the copied text are of. */
  #asked() {
    return this.lanes.chosen ?? [this.view.since, this.view.until];
  }

  #select(since, until) {
    this.lanes.chosen = until > since ? [since, until] : null;
    this.#draw();
    this.#files();
  }

  #files() {
    const [since, until] = this.#asked();
    const links = this.recording.formats.map((format) => {
      const link = document.createElement("a");
      link.href = this.data.fileAddress(format, since, until);
      link.download = "";
      link.textContent = format;
      link.title = `Download ${this.lanes.chosen ? "the selection" : "the time that is shown"} as ${format}`;
      return link;
    });
    byId("files").replaceChildren(...links);
  }

  // The address.

  #keepAddress() {
    clearTimeout(this.addressing);
    this.addressing = setTimeout(() => {
      const kept = new URLSearchParams({ since: this.view.since, until: this.view.until });
      if (this.at !== undefined) kept.set("at", this.at);
      for (const [name, value] of this.search.query ?? []) kept.set(name, value);
      this.written = `#${kept}`;
      if (location.hash !== this.written) history.replaceState(null, "", this.written);
    }, ADDRESS_MS);
  }

  // Search.

  #searched() {
    this.marking?.abort();
    this.lanes.marks = null;
    this.#openTab("hits");
    // On a narrow page they are below what is seen.
    if (matchMedia(NARROW_PAGE).matches) byId("hits").closest("section").scrollIntoView({ block: "start" });
    this.#draw();
    this.#keepAddress();
  }

  #searchFor(parameters) {
    this.search.fill(parameters);
    this.search.search();
  }

  // Live.

  async #grown() {
    if (this.growing) {
      this.grewAgain = true;
      return;
    }
    this.growing = true;
    try {
      await Promise.all([this.reading.refresh(), this.#refreshView()]);
    } catch (error) {
      this.#trouble(error);
    } finally {
      this.growing = false;
      if (this.grewAgain) {
        this.grewAgain = false;
        this.#grown();
      }
    }
  }

  async #refreshView() {
    const before = this.recording.span;
    this.recording = await this.data.recording();
    this.clock.offsets = this.recording.offsets;
    this.#clearTrouble();
    const { span } = this.recording;
    if (this.following || (span && (!before || this.view.until >= before[1] - 60_000))) this.#load();
    if (!this.map.whole || !before) await this.#loadMap();
  }

  #setFollowing(follows) {
    this.following = follows;
    byId("follow").setAttribute("aria-pressed", String(follows));
    clearInterval(this.ticking);
    if (!follows) return;
    const length = Math.min(this.view.until - this.view.since, HOUR_MS);
    const move = () => {
      const end = Date.now() + length * 0.02;
      this.show(end - length, end, { follows: true });
    };
    this.ticking = setInterval(move, Math.max(1000, length / 500));
    move();
    this.look(Date.now(), { quiet: true });
  }

  #status(statuses) {
    const text = statuses.map((one) => (statuses.length > 1 && one.directory ? `${one.directory}: ${one.state}` : one.state)).join(", ");
    this.#say(text, statuses.every((one) => one.running) ? "running" : "idle");
  }

  #say(text, kind) {
    byId("state").textContent = text;
    byId("state").dataset.kind = kind;
  }

  #trouble(error) {
    byId("trouble").textContent = error.hint ? `${error.message}: ${error.hint}` : error.message;
    byId("trouble").hidden = false;
  }

  #clearTrouble() {
    byId("trouble").hidden = true;
  }

  // Buttons and keys.

  #wire() {
    const act = this.#acts();
    for (const id of ["today", "yesterday", "week", "all", "follow", "earlier", "later", "closer", "wider", "theme", "help", "copy"]) {
      byId(id).addEventListener("click", act[id]);
    }
    byId("keys-close").addEventListener("click", () => byId("keys").close());
    for (const name of TABS) {
      byId(`tab-${name}`).addEventListener("click", () => this.#openTab(name));
      byId(`tab-${name}`).addEventListener("keydown", (event) => this.#tabKey(event, name));
    }
    addEventListener("keydown", (event) => this.#key(event, act));
    addEventListener("hashchange", () => location.hash !== this.written && this.#open());
    document.addEventListener("visibilitychange", () => !document.hidden && this.data.isLive && this.#grown());
  }

  #acts() {
    /** Show days, read them from their beginning, and search in them. */
    const chosen = (since, until) => {
      this.show(since, until);
      this.readsBeginning = true;
      this.search.within([since, until]);
    };
    const days = (first, last) => {
      const now = this.data.isLive ? Date.now() : this.recording.now;
      chosen(this.clock.startOfDay(now, first), this.clock.startOfDay(now, last));
    };
    const zoom = (factor) => {
      const scale = this.#scale().zoomed(factor, this.at > this.view.since && this.at < this.view.until ? this.#scale().x(this.at) : this.lanes.plotWidth / 2);
      this.show(scale.since, scale.until);
    };
    const move = (part) => {
      const scale = this.#scale().moved(part);
      this.show(scale.since, scale.until);
    };
    return {
      today: () => days(0, 1),
      yesterday: () => days(-1, 0),
      week: () => {
        const first = this.clock.startOfWeek(this.data.isLive ? Date.now() : this.recording.now);
        chosen(first, this.clock.startOfDay(first, 7));
      },
      all: () => {
        const [first, last] = this.recording.span ?? [Date.now() - HOUR_MS, Date.now()];
        const edge = (last - first) * 0.01;
        this.show(first - edge, last + edge);
        this.search.within(null);
      },
      follow: () => this.#setFollowing(!this.following),
      earlier: () => move(-0.25),
      later: () => move(0.25),
      closer: () => zoom(0.5),
      wider: () => zoom(2),
      sentence: (step) => {
        const at = this.reading.neighbour(step);
        if (at !== null) this.look(at);
      },
      hit: (step) => this.search.step(step),
      theme: () => this.#chooseTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "") + 1) % THEMES.length]),
      help: () => byId("keys").showModal(),
      copy: () => this.#copy(),
      escape: () => this.#select(0, 0),
      words: () => byId("words").focus(),
    };
  }

  #scale() {
    return new TimeScale(this.view.since, this.view.until, this.lanes.plotWidth);
  }

  #key(event, act) {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
    const typing = event.target.closest("input, select, textarea");
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    const isArrow = event.key.startsWith("Arrow");
    if (isArrow && event.target.closest("[role=tab]")) return;
    const keys = {
      ArrowLeft: act.earlier, ArrowRight: act.later, "+": act.closer, "=": act.closer, "-": act.wider,
      t: act.today, y: act.yesterday, w: act.week, a: act.all, l: act.follow, "/": act.words, "?": act.help,
      n: () => act.hit(1), N: () => act.hit(-1), j: () => act.sentence(1), k: () => act.sentence(-1), Escape: act.escape,
    };
    const action = keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  #openTab(name) {
    for (const one of TABS) {
      const isOpen = one === name;
      byId(one).hidden = !isOpen;
      byId(`tab-${one}`).setAttribute("aria-selected", String(isOpen));
      byId(`tab-${one}`).tabIndex = isOpen ? 0 : -1;
    }
    if (name === "figures") this.figures.show(...this.#asked());
  }

  #tabKey(event, name) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const next = TABS[(TABS.indexOf(name) + step + TABS.length) % TABS.length];
    this.#openTab(next);
    byId(`tab-${next}`).focus();
  }

  async #copy() {
    try {
      const text = await this.data.text(...this.#asked(), this.clock);
      if (!text.trim()) throw new Error("nothing was said in this time");
      await navigator.clipboard.writeText(text);
      byId("copy").textContent = "Copied";
    } catch (error) {
      this.#trouble(error);
    }
    setTimeout(() => (byId("copy").textContent = "Copy text"), 2000);
  }

  #resized() {
    this.#draw();
    this.#loadSoon();
  }

  // Dark and light.

  #storedTheme() {
    try {
      return localStorage.getItem("theme") ?? "";
    } catch {
      return "";
    }
  }

  #chooseTheme(theme) {
    const known = THEMES.includes(theme) ? theme : "";
    document.documentElement.dataset.theme = known;
    const name = known || "system";
    byId("theme").textContent = `◐ ${name}`;
    byId("theme").setAttribute("aria-label", `Theme: ${name}`);
    try {
      localStorage.setItem("theme", known);
    } catch {
      // A page on a disk may keep nothing.
    }
    if (this.lanes) this.#draw();
  }
}

new TimelinePage().start();
