"""Journal lines and API records of one session, for the tests of the recovery."""

from dataclasses import replace

from vdbevents.events import gaps, identity, lifecycle
from vdbevents.recovery.journal_tail import BACKFILL_EVENT, JournalTail
from vdbevents.sessions.recorded_session import RecordSource

T = 1_772_446_530_000
MARGIN = 30_000
MIC = lifecycle.Stream("rts-mic", "mic:default", "mic", "audio")
DISPLAY = lifecycle.Stream("rts-display", "display:1", "screen", "video")
SPEECH = RecordSource("transcript", "rts-mic", "mic:default", "s-1")
SCENES = RecordSource("visual_index", "rts-display", "display:1", "s-1", "idx-1")
GAP = gaps.Gap("gap-1", T + 100_000, T + 200_000, "closed")
NEXT = gaps.Gap("gap-2", T + 300_000, T + 400_000, "closed again")


def arrived(seconds, text=None, source=SPEECH, **more):
    """Return a live event of three seconds, `seconds` after the beginning."""
    start_ms = T + round(seconds * 1000)
    data = {"text": text or f"at {seconds}", "start": start_ms, "end": start_ms + 3000}
    return {"channel": source.channel, "rtstream_id": source.stream_id, "data": data, **more}


def fetched(seconds, text=None, name="text"):
    """Return the record that the service keeps of it."""
    start = (T + round(seconds * 1000)) / 1000
    return {"start": start, "end": start + 3, name: text or f"at {seconds}"}


def own(event, **data):
    return {"channel": "vdbevents", "event": event, "data": data}


def opens(gap):
    return own(gaps.EVENT, **gap.data())


def closes(gap):
    return opens(replace(gap, status="recovered"))


BEGUN = own("capture.started", capture_session_id="s-1")


def read(lines, wanted=(GAP,), sources=(SPEECH,), session_ids=("s-1",)):
    """Read some lines backward; return the tail and how many lines it took."""
    tail = JournalTail(wanted, {source.key for source in sources}, session_ids)
    for taken, line in enumerate(reversed(lines), 1):
        if not tail.take(line):
            return tail, taken
    tail.begun_ms = T
    return tail, len(lines)


def remembered(tail, lines):
    """Return the start times, in seconds, of those lines that the tail has seen."""
    known = (it for event in lines if (it := identity.identity_of(event)) and hash(it) in tail.seen)
    return sorted((it.start_ms - T) / 1000 for it in known)


def seconds(milliseconds):
    return None if milliseconds is None else (milliseconds - T) / 1000


def filling(done, *, wanted=(GAP,), sources=(SPEECH,)):
    entries = [{**it._asdict(), "done": None if done is None else (T / 1000) + done} for it in sources]
    return own(BACKFILL_EVENT, gaps=[gap.id for gap in wanted], sources=entries)
