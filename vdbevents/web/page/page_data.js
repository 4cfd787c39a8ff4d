// What the page shows: asked of its server, or embedded in a page that was exported.

export class DataError extends Error {
  constructor(message, hint = "") {
    super(message);
    this.hint = hint;
  }
}

class ServerData {
  isLive = true;

  async #ask(address, signal) {
    let response;
    try {
      response = await fetch(address, { signal });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new DataError("the server does not answer", "start it again: vdbevents view");
    }
    if (response.status === 401) {
      throw new DataError("this page is closed", "open the address that vdbevents view has printed");
    }
    return response;
  }

  async #get(name, parameters, signal) {
    const response = await this.#ask(`/data/${name}?${new URLSearchParams(parameters)}`, signal);
    const answer = await response.json().catch(() => null);
    if (answer === null) throw new DataError(`the server failed (${response.status})`, "see where vdbevents view runs");
    if (!response.ok) throw new DataError(answer.error, answer.hint);
    return answer;
  }

  recording() {
    return this.#get("recording", {});
  }

  timeline(since, until, parts) {
    return this.#get("timeline", { since, until, parts });
  }

  said(from, earlier, signal) {
    return this.#get("said", { from, earlier: earlier ? 1 : 0 }, signal);
  }

  moment(at, signal) {
    return this.#get("moment", { at }, signal);
  }

  hits(query, offset, signal) {
    return this.#get("hits", [...query, ["offset", offset]], signal);
  }

  marks(query, since, until, parts, signal) {
    return this.#get("marks", [...query, ["since", since], ["until", until], ["parts", parts]], signal);
  }

  statistics(since, until, by, signal) {
    return this.#get("statistics", { since, until, by }, signal);
  }

  play(stream, at) {
    return this.#get("play", { stream, at });
  }

  videoAddress(session) {
    return `/data/video?${new URLSearchParams({ session })}`;
  }

  /** All that was said in a time, as text. */
  async text(since, until) {
    const response = await this.#ask(this.fileAddress("txt", since, until));
    if (!response.ok) throw new DataError(`the server failed (${response.status})`, "see where vdbevents view runs");
    return response.text();
  }

  fileAddress(format, since, until) {
    return `/data/download?${new URLSearchParams({ format, since, until })}`;
  }

  /** Call the handlers of `grown`, `status` and `lost` for as long as the page is open. */
  listen(handlers) {
    const source = new EventSource("/data/live");
    source.addEventListener("grown", () => handlers.grown());
    source.addEventListener("status", (message) => handlers.status(JSON.parse(message.data)));
    source.addEventListener("open", () => handlers.grown());
    source.addEventListener("error", () => handlers.lost());
  }
}

class EmbeddedData {
  isLive = false;

  constructor(recorded) {
    this.recorded = recorded;
    this.said_ = recorded.said.filter((part) => part.at !== null);
  }

  async recording() {
    return this.recorded;
  }

  async timeline(since, until, parts) {
    const { span, lanes } = this.recorded;
    const minute = (span[1] - span[0]) / this.recorded.parts;
    const inside = ([, first, last]) => first < until && last > since;
    return {
      since,
      until,
      parts,
      span,
      now: this.recorded.now,
      lanes: lanes.map((lane) => {
        const counts = new Map();
        for (const [part, count] of lane.counts) {
          const at = span[0] + part * minute;
          if (at + minute <= since || at >= until) continue;
          const place = Math.max(0, Math.min(parts - 1, Math.floor(((at - since) / (until - since)) * parts)));
          counts.set(place, (counts.get(place) ?? 0) + count);
        }
        return { ...lane, counts: [...counts] };
      }),
      events: until - since <= 2 * 3_600_000 ? this.#single(since, until) : null,
      sessions: this.recorded.sessions.filter((one) => one.since < until && one.until > since),
      gaps: this.recorded.gaps.filter(inside),
      pauses: this.recorded.pauses.filter(inside),
    };
  }

  #single(since, until) {
    const spoken = this.said_.filter((part) => part.kind === "speech");
    const all = [...spoken.map((part) => ({ ...part, channel: "transcript", kind: this.#lane(part), name: "" })), ...this.recorded.others];
    const near = all.filter((one) => one.at < until && (one.end ?? one.at) >= since);
    return near.length > 400 ? null : near;
  }

  #lane(part) {
    const lanes = this.recorded.lanes.filter((lane) => lane.kind === "mic" || lane.kind === "system_audio");
    return lanes.find((lane) => part.who.includes(lane.kind) || (lane.name && part.who.includes(lane.name)))?.kind ?? "mic";
  }

  async said(from, earlier) {
    const { span } = this.recorded;
    const parts = this.said_.filter((part) => (earlier ? part.at < from : part.at >= from));
    return { parts, since: earlier ? span[0] : from, until: earlier ? from : span[1], is_end: true };
  }

  async moment(at) {
    const shown = this.recorded.others.filter((one) => one.channel === "visual_index");
    const names = new Set(shown.map((one) => `${one.host}\n${one.name}`));
    const screens = [];
    for (const key of names) {
      const of = shown.filter((one) => `${one.host}\n${one.name}` === key);
      const place = of.findLastIndex((one) => one.at <= at);
      if (place < 0 || at - of[place].end > 300_000) continue;
      const one = of[place];
      screens.push({
        ...one, since: one.at, until: one.end, stream: "",
        previous: of[place - 1]?.at ?? null, next: of[place + 1]?.at ?? null,
      });
    }
    const near = this.recorded.others
      .filter((one) => one.channel !== "visual_index" && Math.abs(one.at - at) <= 60_000)
      .map((one) => ({ ...one, who: one.name || one.kind }));
    const beside = {
      previous: shown.findLast((one) => one.at < at)?.at ?? null,
      next: shown.find((one) => one.at >= at)?.at ?? null,
    };
    const videos = this.recorded.sessions
      .filter((one) => one.video && one.since <= at && at < one.until)
      .map((one) => ({ session: one.id, offset: at - one.since, address: one.video, file: false }));
    return { at, screens, beside, near, videos };
  }

  #found(query) {
    const values = Object.fromEntries(query);
    let expressions;
    try {
      const texts = values.regex === "1" ? [values.q] : phrases(values.q ?? "").map(escaped);
      expressions = texts.map((text) => new RegExp(text, "giu"));
    } catch (error) {
      throw new DataError(`not a regular expression: ${error.message}`);
    }
    const spoken = this.said_.filter((part) => part.kind === "speech").map((part) => ({ ...part, channel: "transcript", label: "" }));
    const all = [...spoken, ...this.recorded.others.map((one) => ({ ...one, who: one.name || one.kind }))];
    return all
      .filter((one) => !values.from || (one.at >= Number(values.from) && one.at < Number(values.to)))
      .filter((one) => !values.channel || one.channel === values.channel)
      .filter((one) => expressions.every((expression) => one.text.search(expression) >= 0))
      .sort((one, other) => other.at - one.at)
      .map((one) => ({ one, expression: expressions[0] }));
  }

  async hits(query, offset) {
    const found = this.#found(query);
    const hits = found.slice(offset, offset + 200).map(({ one, expression }) => {
      const text = one.text.replace(/\s+/gu, " ");
      const first = expression ? Math.max(0, text.search(expression)) : 0;
      const start = Math.max(0, first - 60);
      const shown = (start ? "…" : "") + text.slice(start, start + 160);
      const marks = expression ? [...shown.matchAll(expression)].map((match) => [match.index, match.index + match[0].length]) : [];
      return { ...one, end: one.end ?? one.at, count: one.count ?? 1, text: shown, marks };
    });
    return { hits, next: found.length > offset + 200 ? offset + 200 : null };
  }

  async marks(query, since, until, parts) {
    const counts = new Map();
    for (const { one } of this.#found(query)) {
      if (one.at < since || one.at >= until) continue;
      const place = Math.floor(((one.at - since) / (until - since)) * parts);
      counts.set(place, (counts.get(place) ?? 0) + 1);
    }
    return { since, until, parts, counts: [...counts] };
  }

  /** By hours, or by days where the page holds many; windows are of all that it holds. */
  async statistics(since, until, by) {
    const { figures, span } = this.recorded;
    if (by === "window") return { ...figures.windows, ofAll: since > span[0] || until < span[1] };
    const { rows, step } = figures.times;
    const inside = rows.filter((row) => row.key !== null && row.key < until && row.key + step > since);
    const total = Object.fromEntries(Object.keys(figures.times.total).map((name) => [name, inside.reduce((sum, row) => sum + row[name], 0)]));
    const gaps = this.recorded.gaps.map(([, first, last]) => Math.min(last, until) - Math.max(first, since)).filter((length) => length > 0);
    total.gaps = gaps.length;
    total.gap_ms = gaps.reduce((sum, length) => sum + length, 0);
    return { by: by === "day" ? "day" : figures.times.by, rows: inside, total };
  }

  async text(since, until, clock) {
    return this.said_
      .filter((part) => part.at >= since && part.at < until)
      .map((part) => `${clock.full(part.at)} ${part.who ? `${part.who}: ` : ""}${part.text}`)
      .join("\n");
  }

  fileAddress() {
    return "";
  }

  listen() {}
}

function phrases(text) {
  return text
    .split('"')
    .flatMap((part, place) => (place % 2 ? [part.trim()] : part.split(/\s+/u)))
    .filter(Boolean);
}

const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|\/]/gu, "\\$&");

/** The embedded recording if there is one, else the server's. */
export function pageData() {
  const embedded = document.getElementById("recording");
  return embedded ? new EmbeddedData(JSON.parse(embedded.textContent)) : new ServerData();
}
