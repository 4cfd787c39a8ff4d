"""The files of the page: its document, its style, and its modules of JavaScript."""

import re
from functools import cache
from importlib.resources import files
from typing import Final

MODULES: Final = (
    "zone_clock.js",
    "time_scale.js",
    "page_data.js",
    "lane_canvas.js",
    "reading_list.js",
    "screen_panel.js",
    "search_panel.js",
    "figures_panel.js",
    "timeline_page.js",
)
"""The modules, each after those that it imports."""

TYPES: Final = {
    "timeline.html": "text/html; charset=utf-8",
    "timeline.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
    **dict.fromkeys(MODULES, "text/javascript; charset=utf-8"),
}
"""The media types of all files."""

_IMPORT: Final = re.compile(r"^import\s[^;]*;\n", re.MULTILINE)
_EXPORT: Final = re.compile(r"^export (?=(?:async )?(?:class|function|const)\b)", re.MULTILINE)


@cache
def content(name: str) -> bytes:
    """Return the content of one of the files, which `TYPES` names."""
    return (files("vdbevents.web") / "page" / name).read_bytes()


def one_script() -> str:
    """Return all modules as one, for a page without a server: browsers import no modules from a disk.

    Their names at the top level differ, and they export only declarations: a test checks both.
    """
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", content(name).decode())) for name in MODULES)
