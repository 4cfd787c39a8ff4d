// Local times of a zone whose offsets the server has listed: browsers do not know every zone by its name.

const DAY = 86_400_000;
const WEEKDAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

const two = (number) => String(number).padStart(2, "0");

export class ZoneClock {
  /** offsets: [from when on, offset], both in ms, oldest first. */
  constructor(name, offsets) {
    this.name = name;
    this.offsets = offsets;
  }

  offsetAt(ms) {
    let first = 0;
    let last = this.offsets.length - 1;
    while (first < last) {
      const middle = (first + last + 1) >> 1;
      if (this.offsets[middle][0] <= ms) first = middle;
      else last = middle - 1;
    }
    return this.offsets.length ? this.offsets[first][1] : 0;
  }

  /** A date whose UTC fields are the local ones. */
  local(ms) {
    return new Date(ms + this.offsetAt(ms));
  }

  /** The time of local fields, in Unix ms. */
  at(year, month, day, hour = 0) {
    const wanted = Date.UTC(year, month, day, hour);
    const guess = wanted - this.offsetAt(wanted);
    return wanted - this.offsetAt(guess);
  }

  day(ms) {
    const date = this.local(ms);
    return `${date.getUTCFullYear()}-${two(date.getUTCMonth() + 1)}-${two(date.getUTCDate())}`;
  }

  weekday(ms) {
    return WEEKDAYS[this.local(ms).getUTCDay()];
  }

  month(ms) {
    const date = this.local(ms);
    return `${MONTHS[date.getUTCMonth()]} ${date.getUTCFullYear()}`;
  }

  minute(ms) {
    const date = this.local(ms);
    return `${two(date.getUTCHours())}:${two(date.getUTCMinutes())}`;
  }

  second(ms) {
    return `${this.minute(ms)}:${two(this.local(ms).getUTCSeconds())}`;
  }

  full(ms) {
    return `${this.weekday(ms)} ${this.day(ms)} ${this.second(ms)}`;
  }

  startOfDay(ms, days = 0) {
    const date = this.local(ms);
    return this.at(date.getUTCFullYear(), date.getUTCMonth(), date.getUTCDate() + days);
  }

  startOfWeek(ms) {
    return this.startOfDay(ms, -((this.local(ms).getUTCDay() + 6) % 7));
  }

  startOfMonth(ms, months = 0) {
    const date = this.local(ms);
    return this.at(date.getUTCFullYear(), date.getUTCMonth() + months, 1);
  }

  /** The times at which local hours of a step begin; the step divides a day, or is one. */
  *steps(since, until, step) {
    for (let day = this.startOfDay(since); day < until; day = this.startOfDay(day + DAY + DAY / 2)) {
      if (step >= DAY) {
        if (day >= since) yield day;
        continue;
      }
      const end = this.startOfDay(day + DAY + DAY / 2);
      const first = Math.max(0, Math.floor((since - day) / step));
      for (let at = day + first * step; at < Math.min(end, until); at += step) {
        if (at >= since) yield at;
      }
    }
  }
}

/** A length of time in words: 5 s, 12 min, 3 h 20 min, 4 d. */
export function lengthText(ms) {
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
  return `${Math.round(hours / 24)} d`;
}

const LONGEST_TEXT = 20_000;

/** What is shown of a text: a megabyte without a blank would keep the browser busy for minutes. */
export function shownText(text) {
  if (text.length <= LONGEST_TEXT) return text;
  const left = (text.length - LONGEST_TEXT).toLocaleString("en");
  return `${text.slice(0, LONGEST_TEXT)}… [${left} more characters: download the time as txt or csv]`;
}
