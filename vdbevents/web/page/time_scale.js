// The part of time that is shown, and where each moment is in it.

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const WHOLE_DAY = 24 * HOUR;
const SHORTEST = SECOND;
const LONGEST = 20 * 366 * WHOLE_DAY;
const STEPS = [
  SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND,
  MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE,
  HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, WHOLE_DAY,
];
const TICK_WIDTH = 80;

export class TimeScale {
  constructor(since, until, width) {
    this.since = since;
    this.until = until;
    this.width = width;
  }

  get length() {
    return this.until - this.since;
  }

  x(ms) {
    return ((ms - this.since) / this.length) * this.width;
  }

  ms(x) {
    return this.since + (x / this.width) * this.length;
  }

  /** The same window, of a length within bounds, in whole ms. */
  static of(since, until, width) {
    const length = Math.min(LONGEST, Math.max(SHORTEST, Math.round(until - since)));
    const middle = (since + until) / 2;
    const first = Math.round(middle - length / 2);
    return new TimeScale(first, first + length, width);
  }

  /** Zoom so that the moment under x stays there. */
  zoomed(factor, x) {
    const at = this.ms(x);
    const length = Math.min(LONGEST, Math.max(SHORTEST, this.length * factor));
    const since = at - (x / this.width) * length;
    return TimeScale.of(since, since + length, this.width);
  }

  moved(part) {
    const by = this.length * part;
    return TimeScale.of(this.since + by, this.until + by, this.width);
  }

  /** The moments to write at the upper edge, each with its text; days are strong. */
  ticks(clock) {
    const least = (this.length / this.width) * TICK_WIDTH;
    const step = STEPS.find((one) => one >= least);
    if (step === undefined) return this.#dates(clock, least);
    return [...clock.steps(this.since, this.until, step)].map((at) => {
      const isDay = clock.startOfDay(at) === at;
      const text = isDay ? `${clock.weekday(at)} ${clock.day(at).slice(5)}` : step < MINUTE ? clock.second(at) : clock.minute(at);
      return { at, text, strong: isDay };
    });
  }

  #dates(clock, least) {
    const found = [];
    const days = least / WHOLE_DAY;
    if (days <= 14) {
      const every = days <= 2 ? 2 : days <= 7 ? 7 : 14;
      for (let at = clock.startOfWeek(this.since - 14 * WHOLE_DAY); at < this.until; at = clock.startOfDay(at, every)) {
        if (at >= this.since) found.push({ at, text: clock.day(at).slice(5), strong: clock.day(at).endsWith("-01") });
      }
      return found;
    }
    const months = days <= 31 ? 1 : days <= 92 ? 3 : days <= 366 ? 12 : 60;
    let at = clock.at(clock.local(this.since).getUTCFullYear(), 0, 1);
    for (; at < this.until; at = clock.startOfMonth(at, months)) {
      if (at >= this.since) found.push({ at, text: clock.month(at), strong: clock.day(at).slice(5) === "01-01" });
    }
    return found;
  }
}
