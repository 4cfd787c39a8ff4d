"""docs/python.md says what is true: its examples are run."""

import doctest
import shutil
from pathlib import Path

import pytest
from support.lakes import Recorder

pytestmark = pytest.mark.long

DOCS = Path(__file__).parent.parent / "docs"


# DuckDB calls pandas in a way that pandas will not take any more one day.
@pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.drop")
def test_each_example_gives_what_the_page_shows(tmp_path, monkeypatch):
    shutil.copy(DOCS / "example.jsonl", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for host in ("desk", "laptop"):
        recorder = Recorder(tmp_path / host, tmp_path / "lake", host)
        shutil.copy(DOCS / "example.jsonl", recorder.state.journal)
        recorder.ships()

    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
    failed, run = doctest.testfile(str(DOCS / "python.md"), module_relative=False, optionflags=options)

    assert (failed, run > 10) == (0, True)
