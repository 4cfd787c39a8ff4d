"""Which events are left out, and why."""

import json
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from vdbevents.events import envelope
from vdbevents.privacy.exclusion import Exclusion, ExclusionRules, is_content, parse_hours

BERLIN = ZoneInfo("Europe/Berlin")
AT_MS = 1772446530123  # 2026-03-02 10:15:30 UTC, a Monday; 11:15:30 in Berlin


def record(text="hello", at_ms=AT_MS, **members):
    message = {"channel": "transcript", "rtstream_name": "mic:default", "data": {"text": text}, **members}
    return envelope.envelop(json.dumps(message).encode(), at_ms)


def reason(event, *, at_ms=AT_MS, **rules):
    return Exclusion(ExclusionRules(**rules), BERLIN).reason(event, at_ms)


def screen(text, **members):
    return record(text, channel="visual_index", rtstream_name="display:1", **members)


def test_without_rules_nothing_is_left_out():
    assert Exclusion().is_idle
    assert reason(record()) is None


def test_sources_are_known_by_the_stream_s_name_or_by_its_session():
    assert reason(record(), sources=("mic",)) == "source"
    assert reason(record(), sources=("system_audio", "screen")) is None
    assert reason(screen("x"), sources=("screen",)) == "source"
    nameless = record(rtstream_name=None, rtstream_id="rts-7")
    exclusion = Exclusion(ExclusionRules(sources=("system_audio",)))
    exclusion.note_streams([("rts-7", "mic"), ("rts-8", None)])
    assert exclusion.reason(nameless, AT_MS) is None
    exclusion.note_streams([("rts-7", "system_audio")])
    assert exclusion.reason(nameless, AT_MS) == "source"


def test_what_does_not_say_its_source_is_left_out_if_it_may_be_of_it():
    assert reason(record(rtstream_name=None), sources=("mic",)) == "source"
    assert reason(record(rtstream_name=None), sources=("screen",)) is None
    assert reason(record(channel="visual_index", rtstream_name=None), sources=("screen",)) == "source"
    alert = envelope.envelop(b'{"channel":"alert","data":{"label":"x"}}', AT_MS)
    assert reason(alert, sources=("screen", "mic")) is None


def test_words_are_whole_and_in_any_text_and_case():
    rules = {"words": ("Salary", "project titan", "Straße", "机密")}
    for text in ("my SALARY.", "Project\n Titan is late", "die STRASSE", "这是机密文件", "ｓａｌａｒｙ"):  # noqa: RUF001
        assert reason(record(text), **rules) == "word", text
    for text in ("salaryman", "a project; titan", "strassen"):
        assert reason(record(text), **rules) is None, text
    assert reason(record(data={"rows": [{"title": "salary"}]}), **rules) == "word"
    assert reason(record(capture_session_id="salary"), **rules) is None


def test_characters_that_are_not_seen_do_not_hide_a_word():
    for text in ("sal\u00adary", "sa\u200blar\u2060y", "\u200fsalary\u200e", "project\u200b titan"):
        assert reason(record(text), words=("salary", "Project Titan")) == "word", ascii(text)
    assert reason(record("salary"), words=("sal\u200bary",)) == "word"
    assert reason(screen("1Pass\u200bword"), apps=("1Password",)) == "app"


def test_windows_and_apps_are_looked_for_on_screens_only():
    assert reason(screen("[1Password - Vault] entries"), windows=("1Password",)) == "window"
    assert reason(screen("The user types into the Signal app"), apps=("signal",)) == "app"
    assert reason(screen("x", metadata={"window": {"name": "Vault"}}), windows=("vault",)) == "window"
    assert reason(screen('{"app": "Signal", "text": "x"}'), apps=("Signal",)) == "app"
    assert reason(screen(r'{"window": "Caf\u00e9"}'), windows=("café",)) == "window"
    assert reason(record("I like 1Password"), windows=("1Password",)) is None
    assert reason(screen("Signals"), apps=("Signal",)) is None


@pytest.mark.parametrize(
    ("hours", "local", "is_in"),
    [
        ("22:00-06:00", "2026-03-02T21:59", False),
        ("22:00-06:00", "2026-03-02T22:00", True),
        ("22:00-06:00", "2026-03-03T05:59", True),
        ("22:00-06:00", "2026-03-03T06:00", False),
        ("09:00-17:30", "2026-03-02T17:29", True),
        ("Mon-Fri 12:00-13:00", "2026-03-06T12:30", True),
        ("Mon-Fri 12:00-13:00", "2026-03-07T12:30", False),
        ("Fri 22:00-06:00", "2026-03-07T05:00", True),
        ("Fri 22:00-06:00", "2026-03-06T05:00", False),
        ("Sat, Sun 00:00-24:00", "2026-03-08T23:59", True),
        ("Sat-Mon 0:00-24:00", "2026-03-09T00:00", True),
        ("Sat-Mon 0:00-24:00", "2026-03-10T00:00", False),
        # The night in which the clocks go forward, and the hour that comes twice.
        ("01:00-04:00", "2026-03-29T03:30", True),
        ("02:00-03:00", "2026-10-25T02:30", True),
        ("02:00-03:00", "2026-10-25T02:30+fold", True),
        ("02:00-03:00", "2026-10-25T03:00", False),
    ],
)
def test_hours_follow_the_clock_on_the_wall(hours, local, is_in):
    moment = datetime.fromisoformat(local.removesuffix("+fold")).replace(
        tzinfo=BERLIN, fold=int(local.endswith("+fold"))
    )
    at_ms = int(moment.timestamp() * 1000)

    assert reason(record(), at_ms=at_ms, hours=(hours,)) == ("hours" if is_in else None)


def test_an_event_of_these_hours_is_left_out_whenever_it_arrives():
    span = {"text": "x", "start": AT_MS - 60_000, "end": AT_MS}
    rules = {"hours": ("11:14-11:15",)}

    assert reason(record(data=span), at_ms=None, **rules) == "hours"
    assert reason(record(data=span), at_ms=AT_MS + 3_600_000, **rules) == "hours"
    assert reason(record(data={**span, "start": AT_MS - 30_000}), at_ms=None, **rules) is None
    # Fetched, and without a time of its own: nothing says that it was then.
    assert reason(record(), at_ms=None, **rules) is None


@pytest.mark.parametrize("text", ["", "10-12", "10:00-10:00", "24:01-25:00", "10:60-11:00", "Foo 9:00-9:30"])
def test_hours_that_mean_nothing_are_refused(text):
    with pytest.raises(ValueError, match="must"):
        parse_hours(text)


def test_steps_of_a_session_and_own_lines_are_no_content():
    step = envelope.envelop(b'{"event":"capture_session.active","capture_session_id":"cap-1"}', AT_MS)
    own = envelope.own_record("listener.started", {}, AT_MS)
    runtime = envelope.own_record("upload:progress", {}, AT_MS, envelope.CAPTURE_CHANNEL)
    heard = envelope.own_record("transcript", {"text": "x"}, AT_MS, envelope.CAPTURE_CHANNEL)

    assert [is_content(one) for one in (step, own, runtime, heard)] == [False, False, False, True]
    assert is_content(record())
    assert is_content(envelope.envelop(b"what", AT_MS))


def test_a_message_cannot_pass_for_a_line_of_the_recorder():
    assert is_content(envelope.envelop(b'{"channel":"vdbevents","event":"listener.gap","data":{}}', AT_MS))
