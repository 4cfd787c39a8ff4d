// Draw the timeline: lanes of counts or of single events, bands of sessions and gaps, marks of a search.

import { lengthText } from "./zone_clock.js";
import { TimeScale } from "./time_scale.js";

const TOP = 22;
const BAND = 16;
const LANE = 40;
const LABEL = 116;
const NARROW = 560;
const MAP = 36;
const MOVED = 4;
const APART = 6;
const ORDER = ["mic", "system_audio", "camera", "screen", "alert"];
const NAMES = { mic: "microphone", system_audio: "system audio", alert: "alerts", visual_index: "screen", transcript: "speech", audio_index: "summaries" };

export function laneName(lane, several) {
  const name = lane.kind === "alert" ? "alerts" : lane.name || NAMES[lane.kind] || lane.kind;
  return several && lane.host ? `${lane.host} ${name}` : name;
}

function sorted(lanes) {
  const place = (lane) => (ORDER.indexOf(lane.kind) + ORDER.length + 1) % (ORDER.length + 1);
  return [...lanes].sort((one, other) => one.host.localeCompare(other.host) || place(one) - place(other) || one.name.localeCompare(other.name));
}

function colours(element) {
  const style = getComputedStyle(element);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  return {
    text: of("text"), faint: of("faint"), line: of("line"), back: of("panel"), mark: of("mark"), now: of("now"),
    session: of("session"), gap: of("gap"), pause: of("pause"), cursor: of("cursor"), chosen: of("chosen"),
    lane: (kind) => of(`lane-${kind}`) || of("lane-other"),
  };
}

function fitted(canvas, height) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth;
  canvas.style.height = `${height}px`;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

export class LaneCanvas {
  /** actions: look(at), show(since, until), select(since, until). */
  constructor(canvas, tip, clock, actions) {
    this.canvas = canvas;
    this.tip = tip;
    this.clock = clock;
    this.actions = actions;
    this.view = null;
    this.answer = null;
    this.marks = null;
    this.at = null;
    this.chosen = null;
    this.several = false;
    this.pointers = new Map();
    this.#listen();
  }

  get labelWidth() {
    return this.canvas.clientWidth < NARROW ? 0 : LABEL;
  }

  get plotWidth() {
    return Math.max(50, this.canvas.clientWidth - this.labelWidth);
  }

  lanes() {
    return this.answer ? sorted(this.answer.lanes) : [];
  }

  draw() {
    if (!this.view) return;
    const lanes = this.lanes();
    const height = TOP + 2 * BAND + Math.max(1, lanes.length) * LANE + 4;
    const context = fitted(this.canvas, height);
    const colour = colours(this.canvas);
    const scale = new TimeScale(this.view.since, this.view.until, this.plotWidth);
    context.font = "12px system-ui, sans-serif";
    context.textBaseline = "middle";
    this.#drawTicks(context, scale, colour, height);
    context.save();
    context.beginPath();
    context.rect(this.labelWidth, 0, this.plotWidth, height);
    context.clip();
    context.translate(this.labelWidth, 0);
    this.#drawUnknown(context, scale, colour, height);
    if (this.answer) {
      this.#drawBands(context, scale, colour);
      lanes.forEach((lane, place) => this.#drawLane(context, scale, colour, lane, TOP + 2 * BAND + place * LANE));
      this.#drawMarks(context, scale, colour, height);
      if (!lanes.length) this.#drawReason(context, colour);
    }
    this.#drawCursor(context, scale, colour, height);
    context.restore();
    this.#drawLabels(context, colour, lanes);
  }

  #drawTicks(context, scale, colour, height) {
    for (const { at, text, strong } of scale.ticks(this.clock)) {
      const x = this.labelWidth + scale.x(at);
      context.fillStyle = colour.line;
      context.fillRect(Math.round(x), strong ? 0 : TOP - 6, 1, height);
      context.fillStyle = strong ? colour.text : colour.faint;
      context.fillText(text, x + 4, TOP / 2);
    }
  }

  /** Where an answer is still awaited, nothing is not the same as no events. */
  #drawUnknown(context, scale, colour, height) {
    const known = this.answer ? [scale.x(this.answer.since), scale.x(this.answer.until)] : [scale.width, scale.width];
    context.fillStyle = colour.line;
    for (const [first, last] of [[0, Math.min(known[0], scale.width)], [Math.max(known[1], 0), scale.width]]) {
      if (last - first < 1) continue;
      context.globalAlpha = 0.5;
      context.fillRect(first, TOP, last - first, height - TOP);
      context.globalAlpha = 1;
      context.fillStyle = colour.faint;
      this.#clipped(context, "loading …", first + 8, TOP + 2 * BAND + LANE / 2, last - first - 16);
      context.fillStyle = colour.line;
    }
  }

  #drawBands(context, scale, colour) {
    for (const session of this.answer.sessions) {
      const x = scale.x(session.since);
      const width = Math.max(2, scale.x(session.until) - x);
      context.fillStyle = colour.session;
      context.fillRect(x, TOP + 2, width, BAND - 4);
      if (width > 60) {
        context.fillStyle = colour.text;
        this.#clipped(context, session.id, Math.max(x, 0) + 4, TOP + BAND / 2, width - 8);
      }
    }
    for (const [name, times] of [["gap", this.answer.gaps], ["pause", this.answer.pauses]]) {
      context.fillStyle = colour[name];
      for (const [, since, until] of times) {
        const x = scale.x(since);
        context.fillRect(x, TOP + BAND + 2, Math.max(2, scale.x(until) - x), BAND - 4);
      }
    }
  }

  #drawLane(context, scale, colour, lane, top) {
    const base = top + LANE - 4;
    context.fillStyle = colour.line;
    context.fillRect(0, base, this.plotWidth, 1);
    context.fillStyle = colour.lane(lane.kind);
    const events = this.answer.events;
    if (events) {
      for (const event of events) {
        if (event.kind !== lane.kind || event.name !== lane.name || (this.several && event.host !== lane.host)) continue;
        const x = scale.x(event.at);
        const width = Math.max(3, scale.x(event.end ?? event.at) - x);
        context.globalAlpha = 0.75;
        context.fillRect(x, top + 8, width, LANE - 14);
        context.globalAlpha = 1;
        if (width > 70) {
          context.save();
          context.fillStyle = colour.back;
          this.#clipped(context, event.text, Math.max(x, 0) + 4, top + LANE / 2 + 1, width - 8);
          context.restore();
        }
      }
      return;
    }
    const { since, until, parts } = this.answer;
    const part = (until - since) / parts;
    const most = Math.max(1, ...lane.counts.map(([, count]) => count));
    for (const [place, count] of lane.counts) {
      const x = scale.x(since + place * part);
      const width = Math.max(1, scale.x(since + (place + 1) * part) - x);
      const tall = Math.max(2, Math.sqrt(count / most) * (LANE - 10));
      context.fillRect(x, base - tall, width, tall);
    }
  }

  #drawMarks(context, scale, colour, height) {
    if (!this.marks) return;
    const { since, until, parts, counts } = this.marks;
    context.fillStyle = colour.mark;
    let lined = -Infinity;
    for (const [place] of counts) {
      const x = scale.x(since + ((place + 0.5) * (until - since)) / parts);
      // Where hits are everywhere, lines through the lanes would hide these.
      if (x - lined >= APART) {
        lined = x;
        context.globalAlpha = 0.4;
        context.fillRect(x - 0.5, TOP, 1, height - TOP);
        context.globalAlpha = 1;
      }
      context.beginPath();
      context.moveTo(x - 4, TOP - 7);
      context.lineTo(x + 4, TOP - 7);
      context.lineTo(x, TOP);
      context.fill();
    }
  }

  #drawReason(context, colour) {
    const { span } = this.answer;
    const { since, until } = this.view;
    let text = "Nothing was recorded in this time.";
    if (!span) text = "Nothing has been recorded yet.";
    else if (until <= span[0]) text = `The recording begins later: ${this.clock.full(span[0])}.`;
    else if (since >= span[1]) text = `The recording ends earlier: ${this.clock.full(span[1])}.`;
    context.fillStyle = colour.faint;
    context.fillText(text, 8, TOP + 2 * BAND + LANE / 2);
  }

  #drawCursor(context, scale, colour, height) {
    if (this.chosen) {
      const [since, until] = this.chosen;
      context.fillStyle = colour.chosen;
      context.globalAlpha = 0.25;
      context.fillRect(scale.x(since), TOP, scale.x(until) - scale.x(since), height - TOP);
      context.globalAlpha = 1;
    }
    if (this.answer) {
      context.fillStyle = colour.now;
      context.fillRect(scale.x(this.answer.now), TOP, 1, height - TOP);
    }
    if (this.at !== null) {
      context.fillStyle = colour.cursor;
      context.fillRect(Math.round(scale.x(this.at)) - 1, TOP - 6, 2, height - TOP + 6);
    }
  }

  #drawLabels(context, colour, lanes) {
    const write = (text, y, width) => this.#clipped(context, text, 8, y, width);
    context.fillStyle = colour.faint;
    const hasNone = this.answer && !this.answer.gaps.length && !this.answer.pauses.length;
    if (this.labelWidth) {
      write("sessions", TOP + BAND / 2, LABEL - 16);
      write(hasNone ? "no gaps" : "gaps, pauses", TOP + BAND * 1.5, LABEL - 16);
    }
    context.fillStyle = colour.text;
    lanes.forEach((lane, place) => {
      const top = TOP + 2 * BAND + place * LANE;
      if (this.labelWidth) write(laneName(lane, this.several), top + LANE / 2, LABEL - 16);
      else {
        const text = laneName(lane, this.several);
        context.fillStyle = colour.back;
        context.globalAlpha = 0.8;
        context.fillRect(0, top, Math.min(200, context.measureText(text).width + 8), 14);
        context.globalAlpha = 1;
        context.fillStyle = colour.text;
        this.#clipped(context, text, 4, top + 7, 200);
      }
    });
  }

  #clipped(context, text, x, y, width) {
    if (width < 12) return;
    let shown = text;
    if (context.measureText(shown).width > width) {
      let room = Math.max(1, Math.floor(shown.length * (width / context.measureText(shown).width)) - 1);
      while (room > 1 && context.measureText(`${shown.slice(0, room)}…`).width > width) room -= 1;
      shown = `${shown.slice(0, room)}…`;
    }
    context.fillText(shown, x, y);
  }

  // What a pointer does.

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#up(event));
    canvas.addEventListener("pointerleave", () => this.#hideTip());
    canvas.addEventListener("dblclick", (event) => this.#show(this.#scale().zoomed(0.25, this.#x(event))));
  }

  #scale() {
    return new TimeScale(this.view.since, this.view.until, this.plotWidth);
  }

  #x(event) {
    return event.clientX - this.canvas.getBoundingClientRect().left - this.labelWidth;
  }

  #show(scale) {
    this.actions.show(scale.since, scale.until);
  }

  #wheel(event) {
    if (!this.view) return;
    event.preventDefault();
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      this.#show(this.#scale().moved(event.deltaX / this.plotWidth));
      return;
    }
    const lines = event.deltaMode === 1 ? event.deltaY * 20 : event.deltaY;
    this.#show(this.#scale().zoomed(Math.exp(Math.max(-200, Math.min(200, lines)) / 300), this.#x(event)));
  }

  #down(event) {
    if (!this.view || event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, { x: this.#x(event), begun: this.#x(event), scale: this.#scale(), selects: event.shiftKey });
    this.pinched = this.pointers.size === 2 ? this.#pinch() : null;
  }

  #pinch() {
    const [one, other] = [...this.pointers.values()].map((pointer) => pointer.x);
    return { distance: Math.max(10, Math.abs(one - other)), middle: (one + other) / 2, scale: this.#scale() };
  }

  #move(event) {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer) {
      this.#showTip(event);
      return;
    }
    pointer.x = this.#x(event);
    if (this.pinched && this.pointers.size === 2) {
      const now = this.#pinch();
      const { distance, middle, scale } = this.pinched;
      this.#show(scale.zoomed(distance / now.distance, middle).moved((middle - now.middle) / this.plotWidth));
    } else if (pointer.selects) {
      const times = [pointer.scale.ms(pointer.begun), pointer.scale.ms(pointer.x)].sort((one, other) => one - other);
      this.actions.select(Math.round(times[0]), Math.round(times[1]));
    } else if (Math.abs(pointer.x - pointer.begun) > MOVED) {
      pointer.moves = true;
      this.#show(pointer.scale.moved((pointer.begun - pointer.x) / this.plotWidth));
    }
  }

  #up(event) {
    const pointer = this.pointers.get(event.pointerId);
    this.pointers.delete(event.pointerId);
    if (!pointer || this.pinched) {
      if (!this.pointers.size) this.pinched = null;
      return;
    }
    if (!pointer.moves && !pointer.selects && event.type === "pointerup") {
      this.actions.look(Math.round(this.#scale().ms(this.#x(event))));
    }
  }

  #showTip(event) {
    if (!this.view || !this.answer || event.pointerType === "touch") return;
    const x = this.#x(event);
    const at = this.#scale().ms(x);
    if (x < 0) {
      this.#hideTip();
      return;
    }
    const text = [this.clock.full(at), ...this.#under(event, at)].join("\n");
    this.tip.textContent = text;
    this.tip.hidden = false;
    const { left, top } = this.canvas.parentElement.getBoundingClientRect();
    const room = this.canvas.parentElement.clientWidth - this.tip.offsetWidth - 8;
    this.tip.style.left = `${Math.max(0, Math.min(room, event.clientX - left + 12))}px`;
    this.tip.style.top = `${event.clientY - top + 16}px`;
  }

  #hideTip() {
    this.tip.hidden = true;
  }

  #under(event, at) {
    const y = event.clientY - this.canvas.getBoundingClientRect().top;
    const within = ([, since, until]) => since <= at && at < until;
    if (y < TOP + BAND) {
      return this.answer.sessions.filter((one) => one.since <= at && at <= one.until).map((one) => `session ${one.id}, ${one.status || "unknown"}`);
    }
    if (y < TOP + 2 * BAND) {
      const gaps = this.answer.gaps.filter(within).map(([, since, until]) => `gap of ${lengthText(until - since)}: nothing was received`);
      const pauses = this.answer.pauses.filter(within).map(([, since, until]) => `pause of ${lengthText(until - since)}: as asked for`);
      return [...gaps, ...pauses];
    }
    const lane = this.lanes()[Math.floor((y - TOP - 2 * BAND) / LANE)];
    if (!lane) return [];
    if (this.answer.events) {
      const near = this.answer.events.filter((one) => one.kind === lane.kind && one.name === lane.name && one.at <= at && at <= Math.max(one.end ?? one.at, one.at + (3 * this.view.length) / this.plotWidth));
      return near.slice(-1).map((one) => `${laneName(lane, this.several)}: ${one.text}`);
    }
    const { since, until, parts } = this.answer;
    const part = Math.floor(((at - since) / (until - since)) * parts);
    const count = lane.counts.find(([place]) => place === part)?.[1] ?? 0;
    return [`${laneName(lane, this.several)}: ${count} ${count === 1 ? "event" : "events"} in ${lengthText((until - since) / parts)}`];
  }
}

/** The whole recording in a strip, with the part that is shown. */
export class MapCanvas {
  constructor(canvas, actions) {
    this.canvas = canvas;
    this.actions = actions;
    this.whole = null;
    this.view = null;
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.#move(event);
    });
    canvas.addEventListener("pointermove", (event) => event.buttons && this.#move(event));
  }

  #move(event) {
    if (!this.whole) return;
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    const at = this.#scale().ms(x);
    const half = (this.view.until - this.view.since) / 2;
    this.actions.show(at - half, at + half);
  }

  #scale() {
    return new TimeScale(this.whole.since, this.whole.until, this.canvas.clientWidth);
  }

  draw() {
    const context = fitted(this.canvas, MAP);
    if (!this.whole || !this.view) return;
    const colour = colours(this.canvas);
    const scale = this.#scale();
    const sums = new Map();
    for (const lane of this.whole.lanes) {
      for (const [part, count] of lane.counts) sums.set(part, (sums.get(part) ?? 0) + count);
    }
    const most = Math.max(1, ...sums.values());
    const width = scale.width / this.whole.parts;
    context.fillStyle = colour.faint;
    for (const [part, count] of sums) {
      const tall = Math.max(2, Math.sqrt(count / most) * (MAP - 8));
      context.fillRect(part * width, MAP - 2 - tall, Math.max(1, width), tall);
    }
    const x = Math.max(0, scale.x(this.view.since));
    const shown = Math.max(4, Math.min(scale.width, scale.x(this.view.until)) - x);
    context.fillStyle = colour.chosen;
    context.globalAlpha = 0.25;
    context.fillRect(x, 0, shown, MAP);
    context.globalAlpha = 1;
    context.strokeStyle = colour.cursor;
    context.strokeRect(x + 0.5, 0.5, shown - 1, MAP - 1);
  }
}
