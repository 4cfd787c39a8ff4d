"""Names of options that were replaced by the one that other commands have for the same; still taken. Pure.

They are in no help and no document, and go with the next release: the changelog lists them.
"""

from typing import Final

OLD_NAMES: Final = {
    ("clip", "--for"): "--duration",
    ("forget", "--from"): "--since",
    ("forget", "--to"): "--until",
    ("service logs", "--lines"): "--limit",
    ("token", "--ttl"): "--token-ttl",
}
"""The present name of an option, by the command as typed after `vdbevents`, and the old name."""


def old_names_of(command: str) -> dict[str, str]:
    """Return the present names of a command's options by the old ones."""
    return {old: present for (path, old), present in OLD_NAMES.items() if path == command}
