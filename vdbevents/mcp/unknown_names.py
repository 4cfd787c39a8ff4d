"""A name that nothing in the recording has: without a word, a wrong id would read as "nothing was said"."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from vdbevents.errors import InputError
from vdbevents.servers.warm_journals import WarmJournals

# The column of the view `events` that has what a parameter names, and what to do if nothing has it.
_HINTS: Final = {
    "session": "list_sessions shows the ids",
    "speaker": "leave it out: many recordings name no speakers, and source tells mic from system_audio",
    "label": "search_events with channel=alert shows the labels",
}


def require_known(tool: str, journals: WarmJournals, values: Mapping[str, Any]) -> None:
    """Check, once a call has found nothing, that the names it asks for occur at any time.

    Args:
        tool: whose call it is.
        journals: the journals.
        values: the arguments.

    Raises:
        InputError: nothing has one of the names.
    """
    from vdbevents.query.filters import Filters

    asked = {name: values[name] for name in _HINTS if values.get(name) and values[name] != "last"}
    if not asked:
        return
    with journals.search(Filters(recorder=True)) as everything:
        known = everything.names(list(asked))
    for name, wanted in asked.items():
        if not _is_known(name, wanted, sorted(known[name])):
            raise InputError(
                f"{tool}: {name}: nothing in the recording has {wanted!r}",
                _HINTS[name],
                error_id="name-unknown",
            )


def _is_known(name: str, wanted: str, there: Sequence[str]) -> bool:
    from vdbevents.query.alike import alike

    match name:
        case "session":
            return any(other.startswith(wanted) for other in there)
        case "speaker":
            return alike(wanted).lower() in (alike(other).lower() for other in there)
    return wanted in there
