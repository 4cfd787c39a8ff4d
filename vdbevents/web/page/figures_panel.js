// Statistics of the time that is shown: speech by hours, screen time by windows, events by days.

import { lengthText } from "./zone_clock.js";
import { button, element } from "./screen_panel.js";

const HOURS_MS = 3_600_000;
const LONG_MS = 4 * 24 * HOURS_MS;
const SVG = "http://www.w3.org/2000/svg";

function drawn(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export class FiguresPanel {
  /** actions: show(since, until), search(parameters), trouble(error). */
  constructor(panel, data, clock, actions) {
    this.panel = panel;
    this.data = data;
    this.clock = clock;
    this.actions = actions;
  }

  async show(since, until) {
    const key = `${since} ${until}`;
    if (key === this.key) return;
    this.key = key;
    this.abort?.abort();
    this.abort = new AbortController();
    this.panel.replaceChildren(element("p", "Counting …", "empty"));
    try {
      const { signal } = this.abort;
      const days = until - since > LONG_MS;
      const times = await this.data.statistics(since, until, days ? "day" : "hour", signal);
      const windows = await this.data.statistics(since, until, "window", signal);
      this.panel.replaceChildren(...this.#totals(times.total), ...this.#times(times), ...this.#windows(windows));
    } catch (error) {
      if (error.name === "AbortError") return;
      this.key = null;
      this.panel.replaceChildren(element("p", error.hint ? `${error.message}: ${error.hint}` : error.message, "wrong"));
    }
  }

  #totals(total) {
    const parts = [
      `${total.events.toLocaleString("en")} events`,
      `${lengthText(total.speech_ms)} of speech`,
      `${total.words.toLocaleString("en")} words`,
      `${lengthText(total.screen_ms)} of screens`,
      `${total.alerts} ${total.alerts === 1 ? "alert" : "alerts"}`,
      total.gaps ? `${total.gaps} ${total.gaps === 1 ? "gap" : "gaps"} of ${lengthText(total.gap_ms)}` : "no gap",
    ];
    return [element("p", parts.join(", "), "count")];
  }

  #times(answer) {
    const days = answer.by === "day";
    const rows = answer.rows.filter((row) => row.key !== null);
    if (!rows.length) return [element("p", "Nothing was recorded in this time.", "empty")];
    const sums = new Map();
    for (const row of rows) {
      const key = days ? this.clock.startOfDay(row.key) : row.key;
      const sum = sums.get(key) ?? { speech: 0, events: 0 };
      sums.set(key, { speech: sum.speech + row.speech_ms, events: sum.events + row.events });
    }
    return days
      ? [element("h3", "Events by day"), this.#calendar(sums)]
      : [element("h3", "Speech by hour"), this.#bars([...sums].map(([at, sum]) => this.#hour(at, sum)))];
  }

  #hour(at, sum) {
    const text = `${this.clock.weekday(at)} ${this.clock.minute(at)}`;
    return { text, value: sum.speech, shown: lengthText(sum.speech), go: () => this.actions.show(at, at + HOURS_MS) };
  }

  #windows(answer) {
    const rows = answer.rows.filter((row) => row.key !== null && row.screen_ms > 0);
    if (!rows.length) return [];
    const bars = rows.map((row) => ({
      text: [row.host, row.key].filter(Boolean).join(": "),
      value: row.screen_ms,
      shown: lengthText(row.screen_ms),
      go: () => this.actions.search(new URLSearchParams({ q: row.key, channel: "visual_index" })),
    }));
    const rest = answer.left_out ? [element("p", `and ${answer.left_out} others`, "count")] : [];
    const heading = `Time on the screen by window${answer.ofAll ? ", in all that this page holds" : ""}`;
    return [element("h3", heading), this.#bars(bars), ...rest];
  }

  #bars(bars) {
    const most = Math.max(1, ...bars.map((bar) => bar.value));
    const list = element("ul", "", "bars");
    for (const bar of bars) {
      const row = element("li");
      const made = button("", bar.go);
      const chart = drawn("svg", { viewBox: "0 0 100 4", preserveAspectRatio: "none", "aria-hidden": "true" });
      chart.append(drawn("rect", { width: (100 * bar.value) / most, height: 4 }));
      made.append(element("span", bar.text, "name"), element("span", bar.shown, "value"), chart);
      row.append(made);
      list.append(row);
    }
    return list;
  }

  #calendar(sums) {
    const most = Math.max(1, ...[...sums.values()].map((sum) => sum.events));
    const grid = element("div", "", "calendar");
    const first = this.clock.startOfWeek(Math.min(...sums.keys()));
    const last = Math.max(...sums.keys());
    for (let at = first; at <= last; at = this.clock.startOfDay(at, 1)) {
      const { events, speech } = sums.get(at) ?? { events: 0, speech: 0 };
      const made = button(this.clock.day(at).slice(8), () => this.actions.show(at, this.clock.startOfDay(at, 1)));
      const label = `${this.clock.weekday(at)} ${this.clock.day(at)}: ${events.toLocaleString("en")} events, ${lengthText(speech)} of speech`;
      made.setAttribute("aria-label", label);
      made.title = label;
      made.dataset.level = String(events ? 1 + Math.floor(3.99 * Math.sqrt(events / most)) : 0);
      grid.append(made);
    }
    return grid;
  }
}
