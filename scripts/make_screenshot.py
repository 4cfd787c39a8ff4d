#!/usr/bin/env python3
"""Write docs/images/timeline.png: `vdbevents view` of a made day, in a real Chromium.

usage: python scripts/make_screenshot.py [FOLDER]
       FOLDER   also write the page at each size and in both themes there, to be looked at

The day, its date and its people are made: see tests/support/working_day.py.
"""

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from support.browser import browser_path, opened_browser  # noqa: E402 - it is beside the tests
from support.working_day import DEPLOY, write_working_day  # noqa: E402 - the same

TARGET = ROOT / "docs" / "images" / "timeline.png"
DAY = datetime(2026, 11, 26, tzinfo=UTC)
SIZES = {"phone": (360, 740), "laptop": (1280, 860), "large": (3840, 2160)}
MOST_BYTES = 200_000


@contextmanager
def served(folder):
    """Serve the day; yield the address of the page."""
    write_working_day(folder / "state" / "videodb_events.jsonl", DAY)
    environ = {
        **{name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ},
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "TZ": "UTC",
        "LANG": "C.UTF-8",
    }
    command = [sys.executable, "-m", "vdbevents", "view", str(folder / "state"), "--no-open"]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip().partition("=")[2]
        finally:
            process.terminate()


def show_deploy(page, address):
    """Open the page at the moment at which the deploy is mentioned, with the hits of a search for it."""
    midnight = round(DAY.timestamp() * 1000)
    since, until = midnight + 8 * 3_600_000, midnight + 18 * 3_600_000
    at = midnight + (DEPLOY + 20) * 60_000
    page.open(address)
    page.wait_for("document.documentElement.dataset.ready === '1'")
    page.value(f"void (location.hash = 'since={since}&until={until}&at={at}&q=deploy&channel=transcript')")
    page.wait_for("!!document.querySelector('ol.hits li')")
    page.click("ol.hits li button")
    settle(page)


def settle(page):
    """Wait until all that was asked for is drawn."""
    page.wait_for("document.querySelector('#lanes').getAttribute('aria-busy') === 'false'", 60)
    page.wait_for("!document.querySelector('ol.hits') || !!document.querySelector('.then')")
    page.wait_for("document.querySelector('#summary').textContent.includes('hits of the search')")
    page.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def main():
    """Write the picture, and the others if a folder is named."""
    if browser_path() is None:
        raise SystemExit("no Chromium was found: install one")
    others = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with (
        tempfile.TemporaryDirectory(prefix="vdbevents-picture-") as folder,
        served(Path(folder)) as address,
        opened_browser() as new_page,
    ):
        page = new_page()
        page.size(1280, 800)
        show_deploy(page, address)
        TARGET.parent.mkdir(exist_ok=True)
        page.picture(TARGET)
        print(f"wrote {TARGET}, {TARGET.stat().st_size:,} bytes")
        for name, size in SIZES.items() if others else ():
            for theme in ("light", "dark"):
                page.size(*size, dark=theme == "dark")
                for tab in ("screens", "hits", "figures"):
                    page.click(f"#tab-{tab}")
                    settle(page)
                    page.picture(others / f"{name}-{theme}-{tab}.png")
        print("\n".join(page.messages))
    return int(TARGET.stat().st_size > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
