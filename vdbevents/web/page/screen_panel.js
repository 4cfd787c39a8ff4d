// What was on each screen at a moment, and alerts and summaries near to it.

import { lengthText, shownText } from "./zone_clock.js";

export function element(name, text = "", className = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.textContent = text;
  return made;
}

export function button(text, action, label = "") {
  const made = element("button", text);
  made.type = "button";
  if (label) made.setAttribute("aria-label", label);
  made.addEventListener("click", action);
  return made;
}

/** Where a moment is in a video: 1:02:03. */
function offsetText(ms) {
  const seconds = Math.floor(ms / 1000);
  const two = (number) => String(number).padStart(2, "0");
  return `${Math.floor(seconds / 3600)}:${two(Math.floor(seconds / 60) % 60)}:${two(seconds % 60)}`;
}

export class ScreenPanel {
  /** actions: look(at), seen(at, screens), trouble(error). */
  constructor(panel, data, clock, actions) {
    this.panel = panel;
    this.data = data;
    this.clock = clock;
    this.actions = actions;
    this.canPlay = false;
    this.video = null;
  }

  async show(at) {
    this.abort?.abort();
    this.abort = new AbortController();
    let found;
    try {
      found = await this.data.moment(at, this.abort.signal);
    } catch (error) {
      if (error.name !== "AbortError") this.actions.trouble(error);
      return;
    }
    const heading = element("h3", this.clock.full(at));
    const screens = found.screens.map((screen) => this.#screen(screen, at));
    if (!screens.length) {
      screens.push(element("p", "No screen was described at this moment.", "empty"));
      screens.push(this.#beside(found.beside.previous, found.beside.next, "the screens"));
    }
    const near = found.near.map((one) => this.#near(one));
    const videos = found.videos.flatMap((one) => this.#video(one));
    this.panel.replaceChildren(heading, ...videos, ...screens, ...(near.length ? [element("h3", "Within a minute"), ...near] : []));
    this.panel.scrollTop = 0;
    this.actions.seen(at, found.screens);
  }

  #screen(screen, at) {
    const made = element("article", "", "screen");
    const title = [screen.host, screen.window || screen.name].filter(Boolean).join(": ");
    const length = screen.until - screen.since;
    const times = `${screen.name}, ${this.clock.second(screen.since)} to ${this.clock.second(screen.until)} (${lengthText(length)})`;
    const actions = this.#beside(screen.previous, screen.next, screen.name);
    if (this.canPlay && screen.stream) actions.append(this.#player(screen.stream, at));
    made.append(element("h4", title), element("p", times, "times"), actions, element("p", shownText(screen.text), "words"));
    return made;
  }

  #beside(previous, next, name) {
    const actions = element("div", "", "actions");
    const go = (to, text, label) => {
      const one = button(text, () => this.actions.look(to), label);
      one.disabled = to === null;
      return one;
    };
    actions.append(go(previous, "◀ before", `What was on ${name} before`));
    actions.append(go(next, "after ▶", `What was on ${name} after`));
    return actions;
  }

  /** The session's video at the moment: of a file here, else a link to its player. */
  #video({ session, offset, address, file }) {
    const text = `Video of ${session} at ${offsetText(offset)}`;
    if (!file) {
      if (!/^https?:\/\//u.test(address)) return [];
      const link = element("a", text);
      link.href = address;
      link.target = "_blank";
      link.rel = "noopener noreferrer";
      const line = element("p", "", "actions");
      line.append(link);
      return [line];
    }
    if (this.video?.dataset.session === session) {
      this.video.currentTime = offset / 1000;
      return [this.video];
    }
    const line = element("div", "", "actions");
    line.append(button(text, () => {
      const made = document.createElement("video");
      made.controls = true;
      made.dataset.session = session;
      made.setAttribute("aria-label", `Video of ${session}`);
      made.addEventListener("loadedmetadata", () => (made.currentTime = offset / 1000), { once: true });
      made.addEventListener("error", () => this.actions.trouble(new Error("the browser cannot play this file")));
      made.src = this.data.videoAddress(session);
      this.video = made;
      line.replaceWith(made);
      made.play().catch(() => {});
    }));
    return [line];
  }

  #player(stream, at) {
    const made = button("Play", async () => {
      made.disabled = true;
      try {
        const { player } = await this.data.play(stream, at);
        if (!/^https?:\/\//u.test(player)) throw new Error("the service gave no address to open");
        window.open(player, "_blank", "noopener,noreferrer");
      } catch (error) {
        this.actions.trouble(error);
      }
      made.disabled = false;
    });
    return made;
  }

  #near(one) {
    const made = element("article", "", one.channel === "alert" ? "alert" : "summary");
    const what = one.channel === "alert" ? `Alert ${one.label}` : `Summary of ${one.who}`;
    made.append(button(`${this.clock.second(one.at)} ${what}`, () => this.actions.look(one.at)), element("p", shownText(one.text), "words"));
    return made;
  }
}
