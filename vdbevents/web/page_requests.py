"""What the page asks for: the parameters of its requests, checked. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from vdbevents.errors import InputError
from vdbevents.query.filters import Filters, known_sources, phrases_in
from vdbevents.times import LEAST_MS, Window

MOST_PARTS: Final = 4000
"""The most parts of a time: no screen has more columns of pixels."""

# A century before and after the epoch: what a calendar of a browser and Python's both have.
_MOST_MS: Final = 8_000_000_000_000


class AskedTime(NamedTuple):
    """A time, in Unix ms: its beginning, and its end, which does not belong to it."""

    since_ms: int
    until_ms: int

    @property
    def window(self) -> Window:
        """The same for a search."""
        return Window(self.since_ms, self.until_ms)

    @property
    def length_ms(self) -> int:
        """How long it is."""
        return self.until_ms - self.since_ms


def number_in(values: Mapping[str, str], name: str, least: int, most: int, usual: int | None = None) -> int:
    """Return a whole number.

    Args:
        values: the parameters.
        name: of the parameter.
        least: the smallest that is allowed.
        most: the largest.
        usual: what is taken where there is none; None if there must be one.

    Raises:
        InputError: it is missing, not a number, or out of bounds.
    """
    text = values.get(name)
    if text is None and usual is not None:
        return usual
    try:
        number = int(text or "")
    except ValueError:
        number = None
    if number is None or not least <= number <= most:
        raise InputError(
            f"{name}: not a number from {least} to {most}, got {text!r}",
            "reload the page",
            error_id="page-request-invalid",
        )
    return number


def moment_in(values: Mapping[str, str], name: str) -> int:
    """Return a time, in Unix ms.

    Raises:
        InputError: it is missing, or no time.
    """
    return number_in(values, name, max(LEAST_MS, -_MOST_MS), _MOST_MS)


def span_in(values: Mapping[str, str]) -> AskedTime:
    """Return the time of `since` and `until`.

    Raises:
        InputError: one is missing, or the end is not after the beginning.
    """
    span = AskedTime(moment_in(values, "since"), moment_in(values, "until"))
    if span.length_ms <= 0:
        raise InputError("until: must be after since", "reload the page", error_id="page-request-invalid")
    return span


def parts_in(values: Mapping[str, str]) -> int:
    """Return into how many parts a time is cut.

    Raises:
        InputError: there are none, or too many.
    """
    return number_in(values, "parts", 1, MOST_PARTS)


def search_in(values: Mapping[str, str], several: Mapping[str, Sequence[str]], window: Window) -> Filters:
    """Return the filters of a search.

    Args:
        values: the parameters: `q`, a text; `regex`, whether it is an expression; `session`, `speaker` and
            `app`.
        several: the values of those that may be repeated: `channel`, `source`.
        window: the time to search; `from` and `to` of the values may make it shorter.

    Raises:
        InputError: there is nothing to search for, or a source is unknown.
    """
    text = values.get("q", "").strip()
    channels, sources = tuple(several.get("channel", ())), tuple(several.get("source", ()))
    one_of = {name: values.get(name, "").strip() for name in ("session", "speaker", "app")}
    if not (text or channels or sources or any(one_of.values())):
        raise InputError("nothing to search for", "type a word", error_id="search-empty")
    is_regex = values.get("regex") == "1"
    if "from" in values or "to" in values:
        within = moment_in(values, "from"), moment_in(values, "to")
        since_ms = within[0] if window.since_ms is None else max(within[0], window.since_ms)
        until_ms = within[1] if window.until_ms is None else min(within[1], window.until_ms)
        window = Window(since_ms, max(since_ms, until_ms))
    return Filters(
        window=window,
        by_event=True,
        grep=((text,) if text else ()) if is_regex else phrases_in(text),
        ignore_case=True,
        extended=is_regex,
        channels=channels,
        recorder=False,
        sources=known_sources("source", sources),
        sessions=(one_of["session"],) if one_of["session"] else (),
        speakers=(one_of["speaker"],) if one_of["speaker"] else (),
        windows=(one_of["app"],) if one_of["app"] else (),
    )
