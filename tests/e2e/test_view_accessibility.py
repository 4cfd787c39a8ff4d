"""axe-core finds no serious fault in the page, whatever it shows, dark and light."""

import contextlib
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from support.browser import browser_path, opened_browser
from support.npm_packages import installed_package
from support.patience import patient
from support.working_day import DEPLOY, write_working_day

AXE = "axe-core@4.14.1"
DAY = datetime(2026, 11, 26, tzinfo=UTC)
BEGIN = round(DAY.timestamp() * 1000)
FAULTS = """(async () => {
  const found = await axe.run(document, { resultTypes: ["violations"] });
  return found.violations.filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => [one.id, one.nodes.map((node) => node.html.slice(0, 200))]);
})()"""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(browser_path() is None, reason="no Chromium is installed"),
    pytest.mark.timeout(patient(300)),
]


@pytest.fixture(scope="module")
def axe():
    """The source of axe-core."""
    return (installed_package(AXE, "npm-axe") / "node_modules" / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
def page(tmp_path, environ):
    """The page of a working day, in a browser, with the deploy in its middle."""
    write_working_day(tmp_path / "state" / "videodb_events.jsonl", DAY)
    command = [sys.executable, "-m", "vdbevents", "view", str(tmp_path / "state"), "--no-open"]
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(
            subprocess.Popen(
                command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        )
        stack.callback(server.kill)
        address = server.stdout.readline().strip().partition("=")[2]
        page = stack.enter_context(opened_browser())()
        page.open(f"{address}#since={BEGIN + 9 * 3_600_000}&until={BEGIN + 17 * 3_600_000}")
        page.wait_for("document.documentElement.dataset.ready === '1'")
        yield page


def drawn(page):
    page.wait_for("document.querySelector('#lanes').getAttribute('aria-busy') === 'false'")


def test_it_has_no_serious_fault_in_any_state(page, axe):
    moment = BEGIN + (DEPLOY + 15) * 60_000
    found = {}
    page.size(1280, 860)
    page.value(f"{axe}; 0")

    def check(state):
        drawn(page)
        for theme in ("light", "dark"):
            page.size(1280, 860, dark=theme == "dark")
            found[state, theme] = page.value(FAULTS)

    page.value(f"void (location.hash = 'since={moment - 600_000}&until={moment + 600_000}&at={moment}')")
    page.wait_for("!!document.querySelector('#screens .words')")
    check("opened")
    page.value("document.querySelector('#words').value = 'deploy'; 0")
    page.value("document.querySelector('#search').requestSubmit(); 0")
    page.wait_for("!!document.querySelector('ol.hits button')")
    page.press("n")
    page.wait_for("!!document.querySelector('.then')")
    check("a hit")
    page.click("#tab-figures")
    page.wait_for("!!document.querySelector('ul.bars')")
    check("statistics by hour")
    page.value(f"void (location.hash = 'since={BEGIN - 9 * 86_400_000}&until={BEGIN + 2 * 86_400_000}')")
    page.wait_for("!!document.querySelector('.calendar')")
    check("statistics by day")
    page.click("#help")
    check("keys")

    page.value("document.querySelector('#keys').append(document.createElement('button')); 0")
    planted = page.value(FAULTS)

    assert [name for name, _ in planted] == ["button-name"]
    assert not any(found.values()), {state: faults for state, faults in found.items() if faults}
    assert page.messages == []
