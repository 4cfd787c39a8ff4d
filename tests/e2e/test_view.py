"""`vdbevents view` in a real browser: the timeline opens, zooms, searches, goes on live, and is exported."""

import http.client
import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse

import pytest
from support import forkserver
from support.browser import browser_path, opened_browser
from support.messages import error_id_in
from support.patience import patient
from support.recorded_day import write_day
from support.working_day import write_working_day, yesterday

MINUTE = 60_000
HOUR = 60 * MINUTE
END = 1_772_470_800_000  # 2026-03-02 17:00 UTC
FIRST_SESSION = f"cap-{0:016x}"
HOSTILE = "<img src=x onerror=alert(1)> </script> \u202e backwards \u0007\u001b[31m needle"

needs_browser = pytest.mark.skipif(browser_path() is None, reason="needs Chromium: apt-get install chromium")


@pytest.fixture
def viewing(tmp_path, environ):
    """Start `vdbevents view` on a state directory; return the address it prints."""
    processes = []

    def start(state, *words):
        command = [sys.executable, "-m", "vdbevents", "view", str(state), "--no-open", *words]
        process = forkserver.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        processes.append(process)
        name, _, address = process.stdout.readline().decode().strip().partition("=")
        assert name == "VIEW_URL", process.stderr.read()
        return address

    start.processes = processes
    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.fixture
def day(tmp_path):
    """A state directory with three hours of a day."""
    folder = tmp_path / "state"
    write_day(folder / "videodb_events.jsonl", 3, END)
    return folder


def lines_of(*events):
    return [json.dumps(one, separators=(",", ":")) for one in events]


def said(at, text):
    data = {"text": text, "is_final": True, "start": at, "end": at + 1_000}
    return {"unix_ts": at / 1000, "channel": "transcript", "rtstream_name": "mic", "data": data}


def write(folder, *events):
    folder.mkdir(exist_ok=True)
    with (folder / "videodb_events.jsonl").open("a") as file:
        file.writelines(f"{line}\n" for line in lines_of(*events))


@pytest.fixture(scope="module")
def browser():
    with opened_browser() as new_page:
        yield new_page


@pytest.fixture
def page(browser):
    """A page that has complained of nothing at the end of the test."""
    opened = browser()
    opened.size(1280, 860)
    yield opened
    assert opened.messages == []


def show(page, address):
    page.open(address)
    page.wait_for("document.documentElement.dataset.ready === '1'")


def window(page):
    """The time that is shown, from the page's address, once it has settled."""
    page.wait_for("location.hash.includes('since=')")
    values = urllib.parse.parse_qs(page.value("location.hash").lstrip("#"))
    return int(values["since"][0]), int(values["until"][0])


def search(page, words, **fields):
    page.value(f"document.querySelector('#words').value = {json.dumps(words)}")
    for name, value in fields.items():
        page.value(f"document.querySelector('#{name}').value = {json.dumps(value)}")
    page.value("document.querySelector('#search').requestSubmit()")


@needs_browser
def test_a_person_sees_zooms_reads_searches_and_counts_a_day(viewing, day, page):
    address = viewing(day)
    show(page, address)

    # It opens with the end of the recording, and the token is in no address.
    assert "token" not in page.value("location.href")
    assert "2026-03-02" in page.text("#window")
    page.wait_for("document.querySelectorAll('#said .row').length > 0")
    assert "mic" in page.wait_for("document.querySelector('#summary').textContent")

    # All of it, and back in, by keys.
    page.press("a")
    page.wait_for("document.querySelector('#window').innerText.includes('2 h 54 min')")
    page.wait_for("document.querySelector('#summary').textContent.includes('3 sessions')")
    before = window(page)
    page.press("+")
    page.wait_for(f"!location.hash.includes('since={before[0]}&')")
    since, until = window(page)
    assert until - since == pytest.approx((before[1] - before[0]) / 2, rel=0.01)
    page.press("ArrowLeft")
    page.wait_for(f"!location.hash.includes('since={since}&')")
    assert window(page)[0] < since

    # The wheel zooms where it points, and a click looks at a moment.
    box = page.value(
        "(({left, top}) => [left, top])(document.querySelector('#lanes').getBoundingClientRect())"
    )
    page.mouse("mouseWheel", box[0] + 700, box[1] + 60, deltaX=0, deltaY=-300)
    before = window(page)
    for kind in ("mousePressed", "mouseReleased"):
        page.mouse(kind, box[0] + 700, box[1] + 60, button="left", clickCount=1)
    page.wait_for("location.hash.includes('at=') && document.querySelector('#screens h3')")
    page.wait_for("document.querySelector('#said .row.current')")

    # A search: hits, marks, and the next one by a key.
    search(page, "deploy")
    page.wait_for("document.querySelectorAll('#hits li').length > 5")
    assert page.value("document.querySelector('#hits mark').textContent").lower() == "deploy"
    page.press("n")
    page.wait_for("document.querySelector('#hits li.current')")
    assert "q=deploy" in page.wait_for("location.hash.includes('q=deploy') && location.hash")

    # Its address leads to the same again.
    again = page.value("location.href")
    page.open("about:blank")
    show(page, again)
    assert page.value("document.querySelector('#words').value") == "deploy"
    page.wait_for("document.querySelectorAll('#hits li').length > 5")

    # A wrong expression is said where the hits would be.
    page.click("#regex")
    search(page, "(")
    page.wait_for("document.querySelector('#hits .wrong')")
    page.messages[:] = [one for one in page.messages if "400" not in one]

    # Statistics lead into the timeline.
    page.click("#tab-figures")
    page.wait_for("document.querySelectorAll('#figures .bars li').length > 3")
    assert "of speech" in page.text("#figures")
    page.click("#figures .bars button")

    # No request has left this machine's own server.
    port = urllib.parse.urlsplit(address).port
    assert {urllib.parse.urlsplit(one).netloc for one in page.requests} - {""} == {f"127.0.0.1:{port}"}


@needs_browser
def test_a_newcomer_finds_what_was_on_the_screen_when_the_deploy_was_mentioned_yesterday(
    viewing, tmp_path, page
):
    folder = tmp_path / "state"
    write_working_day(folder / "videodb_events.jsonl", yesterday())
    write(folder, said(time.time_ns() // 1_000_000 - 1_000, "the deploy of today is another one"))
    show(page, viewing(folder, "--tz", "UTC"))

    # As a person would: by what is written on the page, one after the other.
    page.click("#yesterday")
    page.press("/")
    page.write("deploy")
    page.press("Enter")
    page.wait_for("document.querySelectorAll('#hits li').length > 3")
    assert "another one" not in page.text("#hits")
    assert f"in {yesterday():%a %Y-%m-%d}" in page.text("#hits .count")
    page.wait_for("document.querySelector('#said .row.current')?.innerText.includes('Good morning')")
    page.value("document.querySelector('#channel').value = 'transcript'")
    page.click("#search [type=submit]")
    page.wait_for("/^(?!.*display:).*\\d hits/s.test(document.querySelector('#hits').innerText)")
    page.press("n")
    page.wait_for("document.querySelector('#hits .then')")
    assert page.value("document.querySelector('#words').value") == "deploy"
    assert "deploy" in page.text("#hits li.current mark")
    assert "deploy checkout 4.18.2 to production" in page.text("#hits .then")
    page.wait_for("document.querySelector('#said .row.current').innerText.includes('deploy')")

    # At any time there is more.
    page.press("a")
    page.wait_for("document.querySelector('#hits').innerText.includes('another one')")


@needs_browser
def test_all_that_was_said_in_a_time_is_copied_whether_it_is_loaded_or_not(viewing, tmp_path, page):
    folder = tmp_path / "state"
    write(folder, *(said(END + 20_000 * number, f"sentence {number}") for number in range(2_000)))
    show(page, viewing(folder))
    page.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.press("a")
    page.wait_for("document.querySelector('#summary').textContent.includes('2000 events')")
    page.click("#copy")
    page.wait_for("document.querySelector('#copy').innerText === 'Copied'")

    copied = page.value("navigator.clipboard.readText()")

    assert [f"sentence {number}" in copied for number in (0, 1, 1_000, 1_999)] == [True] * 4


@needs_browser
def test_what_is_read_follows_the_timeline(viewing, day, page):
    show(page, viewing(day, "--tz", "UTC"))
    page.press("a")
    page.wait_for("document.querySelector('#summary').textContent.includes('3 sessions')")
    ending = window(page)[1]
    page.wait_for("document.querySelector('#said .row.current')")
    for _ in range(2):
        page.press("ArrowLeft")

    page.wait_for("document.querySelector('#lanes').getAttribute('aria-busy') === 'false'")
    looked = "Number(new URLSearchParams(location.hash.slice(1)).get('at'))"
    page.wait_for(f"{looked} < {ending - HOUR}")
    since, until = window(page)
    assert since <= page.value(looked) < until


@needs_browser
def test_fingers_zoom_and_move_on_a_phone_and_hits_are_in_view(viewing, day, page):
    page.size(360, 740)
    page.call("Emulation.setTouchEmulationEnabled", enabled=True, maxTouchPoints=2)
    show(page, viewing(day))
    page.wait_for("document.querySelector('#lanes').getAttribute('aria-busy') === 'false'")
    page.value("document.querySelector('#lanes').scrollIntoView()")
    top = page.value("document.querySelector('#lanes').getBoundingClientRect().top") + 60
    before = window(page)

    page.touch("touchStart", (150, top), (210, top))
    for step in range(1, 7):
        page.touch("touchMove", (150 - 10 * step, top), (210 + 10 * step, top))
    page.touch("touchEnd")
    page.wait_for(f"!location.hash.includes('since={before[0]}&')")
    closer = window(page)
    assert closer[1] - closer[0] == pytest.approx((before[1] - before[0]) / 3, rel=0.02)
    assert sum(closer) / 2 == pytest.approx(sum(before) / 2, abs=(before[1] - before[0]) / 50)

    page.touch("touchStart", (100, top))
    for step in range(1, 7):
        page.touch("touchMove", (100 + 20 * step, top))
    page.touch("touchEnd")
    page.wait_for(f"!location.hash.includes('since={closer[0]}&')")
    moved = window(page)
    assert moved[1] - moved[0] == closer[1] - closer[0]
    assert moved[0] < closer[0]

    search(page, "deploy")
    page.wait_for("document.querySelectorAll('#hits li').length > 5")
    box = page.value("document.querySelector('#hits li').getBoundingClientRect().toJSON()")
    assert 0 <= box["top"] < box["bottom"] <= 740


@needs_browser
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg, to make a video")
def test_a_video_beside_the_journal_plays_at_the_moment(viewing, day, page):
    video = day / f"{FIRST_SESSION}.webm"
    picture = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=2:duration=300"]
    form = ["-c:v", "libvpx", "-b:v", "4k", "-g", "10"]
    subprocess.run(["ffmpeg", "-v", "error", *picture, *form, str(video)], check=True)
    begun = END - 3 * HOUR
    address = viewing(day)
    show(page, f"{address}#since={begun}&until={begun + HOUR}&at={begun + 2_000 + 3 * MINUTE}")

    page.wait_for("document.querySelector('#screens').innerText.includes('at 0:03:00')")
    page.click("#screens .actions button")

    page.wait_for("document.querySelector('video')?.currentTime > 180")
    assert page.value("document.querySelector('video').currentTime") < 200
    # Another moment of the session is another place in it.
    page.press("j")
    page.press("j")
    page.wait_for("document.querySelector('video').currentTime > 181")


@needs_browser
def test_new_events_appear_within_a_second_and_text_is_never_markup(viewing, tmp_path, page):
    folder, now = tmp_path / "state", time.time_ns() // 1_000_000
    write(folder, said(now - 20_000, "before the page was opened"))
    show(page, viewing(folder))
    page.wait_for("document.querySelector('#said').innerText.includes('before the page')")
    page.press("l")
    page.wait_for("document.querySelector('#follow').getAttribute('aria-pressed') === 'true'")

    begun = time.monotonic()
    write(folder, said(now, HOSTILE))
    page.wait_for("document.querySelector('#said').innerText.includes('needle')")
    took = time.monotonic() - begun

    assert took < patient(1)
    assert page.value("document.querySelectorAll('img').length") == 0
    page.wait_for("document.querySelector('#summary').textContent.includes('mic: 2 events')")
    search(page, "needle")
    page.wait_for("document.querySelector('#hits mark')")
    assert page.value("document.querySelectorAll('img').length") == 0


HOSTILE_TEXTS = (
    "<script>window.bad=1</script><img src=x onerror='window.bad=1'> deploy",
    "\u202eabc\u2066deploy\u200f\u061c",
    "x" * 1_000_000 + " deploy",
    "\x00\x07\x1b[31mdeploy\r\n\t",
    "\ud800 deploy",
    "deploy " + "a\u0301" * 5_000,
)


@needs_browser
def test_no_text_of_a_recording_harms_the_page(viewing, tmp_path, page):
    folder = tmp_path / "state"
    for number, text in enumerate(HOSTILE_TEXTS):
        at = END + 20_000 * number
        shown = {"text": text, "start": at, "end": at + 5_000}
        write(
            folder,
            said(at, text),
            {
                "unix_ts": at / 1000,
                "channel": "visual_index",
                "rtstream_name": "display:<b>1</b>",
                "data": shown,
            },
        )
    show(page, viewing(folder))
    search(page, "deploy")
    page.wait_for("document.querySelectorAll('#hits li').length === 12")

    for number in range(12):
        page.press("n")
        page.wait_for(f"document.querySelectorAll('#hits li')[{number}].matches('.current')")
        page.wait_for("document.querySelector('#said .row.current')")
    for key in ("+", "-", "a"):
        page.press(key)
    page.wait_for("document.querySelector('#lanes').getAttribute('aria-busy') === 'false'")

    assert page.value("window.bad ?? null") is None
    assert page.value("document.querySelectorAll('img, b, main script').length") == 0
    assert page.value("document.documentElement.scrollWidth") <= 1280


@needs_browser
def test_a_long_transcript_is_scrolled_through_with_few_rows_at_a_time(viewing, tmp_path, page):
    folder = tmp_path / "state"
    write(folder, *(said(END + 20_000 * number, f"sentence {number}") for number in range(3_000)))
    show(page, viewing(folder, "--tz", "UTC"))
    page.wait_for("document.querySelector('#said').innerText.includes('sentence 2999')")

    page.press("a")
    reached = """(() => { const said = document.querySelector('#said'); said.scrollTop = 0;
        return /sentence 0$/m.test(said.innerText); })()"""
    page.wait_for(reached, 60)

    assert page.value("document.querySelectorAll('#said .row').length") < 100
    # The rows in view are in order, without a gap between two.
    rows = page.value(
        """[...document.querySelectorAll('#said .row')].map((row) => {
        const {top, bottom} = row.getBoundingClientRect();
        return [top, bottom, row.querySelector('p').innerText];
        }).sort((one, other) => one[0] - other[0])"""
    )
    assert all(abs(above[1] - below[0]) < 1.5 for above, below in itertools.pairwise(rows))
    numbers = [int(row[2].split()[1]) for row in rows]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def exported(state, target, day, environ):
    """Export a day; return the ended process."""
    command = [sys.executable, "-m", "vdbevents", "view", str(state), "--export", str(target), "--on", day]
    return forkserver.run(command, env=environ, capture_output=True, timeout=patient(60), check=False)


@needs_browser
def test_an_exported_page_works_from_the_disk(day, tmp_path, environ, page):
    target = tmp_path / "day.html"
    done = exported(day, target, "2026-03-02", environ)
    assert (done.returncode, done.stdout.decode().strip()) == (0, str(target))
    assert target.stat().st_mode & 0o777 == 0o600
    shutil.rmtree(day)

    show(page, target.as_uri())
    page.wait_for("document.querySelectorAll('#said .row').length > 0")
    page.press("a")
    page.wait_for("document.querySelector('#summary').textContent.includes('3 sessions')")
    search(page, "deploy", channel="visual_index")
    page.wait_for("document.querySelectorAll('#hits li').length > 5")
    page.press("n")
    page.wait_for("document.querySelector('#hits li.current')")
    page.click("#tab-screens")
    page.wait_for("document.querySelector('#screens .words').innerText.toLowerCase().includes('deploy')")

    # Statistics are those of the server, by hours, and each is a link into the timeline.
    page.click("#tab-figures")
    page.wait_for("document.querySelectorAll('#figures .bars li').length > 5")
    shown = page.text("#figures")
    assert "of speech" in shown
    assert "Slack" in shown
    before = window(page)
    page.click("#figures .bars button")
    page.wait_for(f"!location.hash.includes('since={before[0]}&')")
    assert window(page)[1] - window(page)[0] == HOUR

    assert {urllib.parse.urlsplit(one).scheme for one in page.requests} <= {"file", "data"}


@needs_browser
@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 860), (3840, 2160)])
def test_nothing_sticks_out_of_the_page(viewing, day, page, width, height):
    page.size(width, height, dark=width == 360)
    show(page, viewing(day))
    page.wait_for("document.querySelectorAll('#said .row').length > 0")

    assert page.value("document.documentElement.scrollWidth") <= width
    assert page.value("document.querySelector('#lanes').clientWidth") > 0.9 * width - 40


def ask(address, path, method="GET", **headers):
    parts = urllib.parse.urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=patient(20))
    connection.request(
        method, path, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )
    answer = connection.getresponse()
    shown = answer.status, dict(answer.headers), answer.read()
    connection.close()
    return shown


def test_the_server_answers_only_those_who_have_the_token_and_keeps_nothing(viewing, day):
    address = viewing(day)
    token = urllib.parse.parse_qs(urllib.parse.urlsplit(address).query)["token"][0]
    status, headers, _ = ask(address, f"/?token={token}")
    assert (status, headers["location"]) == (303, "/")
    cookie = headers["set-cookie"].split(";")[0]

    assert ask(address, "/")[0] == 401
    assert ask(address, "/data/recording")[0] == 401
    status, headers, body = ask(address, "/data/recording", cookie=cookie)
    assert (status, headers["cache-control"]) == (200, "no-store")
    assert json.loads(body)["span"][1] == END - 10 * MINUTE
    assert "script-src 'self'" in headers["content-security-policy"]
    assert ask(address, "/data/recording", cookie=cookie, host="evil.example")[0] == 421
    assert ask(address, "/data/recording", cookie=cookie, origin="http://evil.example")[0] == 403
    assert ask(address, "/data/recording", "POST", cookie=cookie)[0] == 405
    for path in ("/page/../view_server.py", "/page/view_server.py", "/page/%2e%2e/x", "/data/", "/x"):
        assert ask(address, path, cookie=cookie)[0] == 404, path
    for path in (
        "timeline",
        "timeline?since=1&until=0&parts=5",
        "said?from=x",
        "statistics?since=0&until=1&by=z",
    ):
        status, _, body = ask(address, f"/data/{path}", cookie=cookie)
        assert status == 400
        assert json.loads(body)["id"] == "page-request-invalid"
    status, headers, body = ask(
        address, f"/data/download?format=md&since={END - HOUR}&until={END}", cookie=cookie
    )
    assert (status, headers["content-type"].split(";")[0]) == (200, "text/markdown")
    assert "attachment" in headers["content-disposition"]
    assert b"mic:" in body
    # A part of a session's video, as browsers ask for it.
    (day / f"{FIRST_SESSION}.mp4").write_bytes(b"0123456789")
    video = f"/data/video?session={FIRST_SESSION}"
    status, headers, body = ask(address, video, cookie=cookie, range="bytes=2-4")
    assert (status, headers["content-type"], body) == (206, "video/mp4", b"234")
    assert ask(address, video)[0] == 401
    assert ask(address, "/data/video?session=cap-0", cookie=cookie)[0] == 404


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_it_though_a_page_listens(viewing, day, number, code):
    address = viewing(day)
    parts = urllib.parse.urlsplit(address)
    _, headers, _ = ask(address, f"/?{parts.query}")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=patient(20))
    connection.request("GET", "/data/live", headers={"cookie": headers["set-cookie"].split(";")[0]})
    assert connection.getresponse().readline().startswith(b"event: status")

    [process] = viewing.processes
    process.send_signal(number)

    assert process.wait(timeout=patient(20)) == code
    connection.close()


def test_a_signal_ends_it_though_it_is_searching(viewing, day):
    address = viewing(day)
    parts = urllib.parse.urlsplit(address)
    _, headers, _ = ask(address, f"/?{parts.query}")
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=patient(20))
    path = f"/data/statistics?since=0&until={END}&by=window"
    connection.request("GET", path, headers={"cookie": headers["set-cookie"].split(";")[0]})

    [process] = viewing.processes
    process.send_signal(signal.SIGTERM)

    assert process.wait(timeout=patient(20)) == 0
    assert process.stderr.read() == b""
    connection.close()


def test_nothing_recorded_yet_and_no_journal_are_said_and_not_a_failure(viewing, tmp_path, environ):
    folder = tmp_path / "state"
    folder.mkdir()
    address = viewing(folder)
    _, headers, _ = ask(address, f"/?{urllib.parse.urlsplit(address).query}")
    cookie = headers["set-cookie"].split(";")[0]

    status, _, body = ask(address, "/data/recording", cookie=cookie)
    assert (status, json.loads(body)["id"]) == (400, "journal-missing")
    write(folder, said(END, "hello"))
    assert ask(address, "/data/recording", cookie=cookie)[0] == 200


@pytest.mark.parametrize("others", [["{other}"], ["desk={other}"], ["--dir", "desk={other}"]])
def test_several_recordings_are_on_one_page(viewing, day, tmp_path, others):
    other = tmp_path / "other" / "state"
    other.parent.mkdir()
    write(other, said(END, "hello"))
    address = viewing(day, *(word.format(other=other) for word in others))
    _, headers, _ = ask(address, f"/?{urllib.parse.urlsplit(address).query}")

    _, _, body = ask(address, "/data/recording", cookie=headers["set-cookie"].split(";")[0])

    first, second = json.loads(body)["hosts"]
    assert first != second
    assert second == "desk" or "desk" not in others[-1]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-"], "source-is-stdin"),
        (["--last", "1h"], "options-conflict"),
        (["/nowhere/at/all"], "path-missing"),
    ],
)
def test_wrong_words_are_refused(day, environ, words, expected):
    named = [] if words[0] in ("-", "/nowhere/at/all") else [str(day)]
    command = [sys.executable, "-m", "vdbevents", "view", *named, *words, "--no-open"]
    done = forkserver.run(command, env=environ, capture_output=True, timeout=patient(60), check=False)

    assert done.returncode == 2
    assert error_id_in(done.stderr.decode()) == expected


def test_a_time_without_events_is_not_exported(day, tmp_path, environ):
    target = tmp_path / "day.html"
    done = exported(day, target, "2026-01-01", environ)

    assert done.returncode == 1
    assert not target.exists()
