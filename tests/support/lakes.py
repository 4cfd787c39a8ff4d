"""A recorder that ships, and what a lake then holds."""

import shutil

from deltalake import DeltaTable, QueryBuilder

from support import random_journals as random
from vdbevents.journal.append import Journal
from vdbevents.journal.state import StateDirectory
from vdbevents.lake.lake_name import recording_name
from vdbevents.lake.recorded_files import RecordedFiles
from vdbevents.lake.shipping import Shipper

DAY = 86_400_000


class Recorder:
    """A recording and its lake."""

    def __init__(self, folder, lake, host="laptop"):
        self.state = StateDirectory(folder)
        self.state.create()
        self.lake = str(lake)
        self.host = host
        self.cache_root = folder.parent / "cache"
        self.at_ms = random.AT
        self.texts = []

    def says(self, *texts, **more):
        """Append an utterance for each text, a second apart."""
        lines = []
        for text in texts:
            lines.append(random.said(text, self.at_ms, start=self.at_ms - 900, end=self.at_ms - 100, **more))
            self.at_ms += 1000
        self.writes(*lines)

    def writes(self, *lines):
        """Append lines."""
        with_ends = [line.encode() + b"\n" if isinstance(line, str) else line + b"\n" for line in lines]
        self.use(lambda journal: journal.append(with_ends))

    def use(self, call):
        """Call a function with the open journal."""
        journal = Journal(self.state, clock_ms=lambda: self.at_ms)
        try:
            return call(journal)
        finally:
            journal.close()

    def shipper(self, **options):
        """Return a new shipper of the recording, as a new process has it."""
        name = recording_name(self.state, self.host)
        return Shipper(self.lake, self.state.journal, name, self.cache_root, pause=lambda _: None, **options)

    def ships(self):
        """Ship all, and return what was shipped."""
        with self.shipper() as shipper:
            return shipper.ship()

    def backed_up(self, folder):
        """Return a function that puts back the state as it is now."""
        shutil.copytree(self.state.path, folder)

        def restore():
            shutil.rmtree(self.state.path)
            shutil.copytree(folder, self.state.path)

        return restore


def rows_in(lake, columns="line", where="true"):
    """The rows of a lake in the order in which they were shipped; of one column, its values."""
    sql = f"SELECT {columns} FROM ev WHERE {where} ORDER BY host, journal, position"
    found = QueryBuilder().register("ev", DeltaTable(str(lake))).execute(sql).read_all()
    rows = list(zip(*(column.to_pylist() for column in found.columns), strict=True))
    return [row[0] for row in rows] if len(found.columns) == 1 else rows


def lines_in(state):
    """All lines that a recording has, also those that were set aside."""
    with RecordedFiles(state.journal) as recorded:
        return [
            line.decode()
            for file in recorded.files
            if file.size
            for line in file.stretch(0).data.split(b"\n")
            if line.strip()
        ]


def two_recorders(folder, lake):
    """Two recorders that shipped two days each, in commits of their own."""
    recorders = [Recorder(folder / host, lake, host) for host in ("desk", "laptop")]
    for number, recorder in enumerate(recorders):
        for day in range(2):
            recorder.at_ms = random.AT + day * DAY + number * 250
            session = f"cap-{number}-{day}"
            recorder.writes(_step(recorder.at_ms, "active", session))
            start = recorder.at_ms - 900
            recorder.writes(random.said("so", recorder.at_ms, final=False, start=start))
            recorder.says("so the invoice", "a release", speaker="Ada")
            recorder.says("the invoice", backfilled=True)
            recorder.writes(
                _shown(recorder.at_ms, "[Inbox - Mail] Invoice 7"),
                _gap(recorder.at_ms, f"gap-{number}-{day}"),
                b"no event",
                _step(recorder.at_ms + 1000, "stopped", session),
            )
            recorder.ships()
    return recorders


def _step(at_ms, step, session):
    return random.line(
        at_ms, channel="capture_session", event=f"capture_session.{step}", capture_session_id=session, data={}
    )


def _shown(at_ms, text):
    data = {"description": text, "start": at_ms}
    return random.line(at_ms, channel="scene_index", rtstream_id="rts-2", data=data)


def _gap(at_ms, name):
    data = {"id": name, "since": at_ms - 500, "until": at_ms, "status": "open"}
    return random.line(at_ms, channel="vdbevents", event="listener.gap", data=data)
