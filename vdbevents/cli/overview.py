"""The list of commands by subject, and the rest of the help of the program itself. Pure.

`vdbevents --help` shows it without loading a command: a command's line here is the first one of its own help.
"""

from typing import Final

GROUPS: Final = {
    "Record": {
        "demo": "Make and query a real recording, without a key or a network.",
        "doctor": "Check what would keep this machine from recording.",
        "capture": "Record this desktop, and export the video.",
        "listen": "Record every event into the journal until a signal.",
        "status": "Show whether a recording works, and what is wrong with it.",
        "pause": "Pause the recording, for a time or until resume.",
        "resume": "End a pause: the recording goes on.",
        "stop": "Stop the listener, and wait until it has ended.",
        "channels": "List the channels that can be recorded on this machine.",
        "service": "Run the recorder at login, and again when it fails.",
    },
    "Find": {
        "query": "Find events by time, text, source, channel and more.",
        "transcript": "Print what was said, in paragraphs with times.",
        "sessions": "List the recorded sessions: when, how long, what is in them.",
        "digest": "Summarise what was said and shown in a window of time.",
        "context": "Show a moment: what was said around it, and each screen.",
        "stats": "Count speech, words, screen time, alerts and gaps.",
        "view": "Show a recording as a timeline in the browser.",
        "gaps": "List the gaps: times in which nothing was received.",
        "search": "Search speech and screen by meaning, with VideoDB.",
        "clip": "Print a playable link for a moment of a recording.",
    },
    "Agents and programs": {
        "wait": "Wait until something is said or shown, and print it.",
        "sql": "Query a journal with a SELECT, in DuckDB's dialect of SQL.",
        "mcp": "Serve a recording to language models, and set up their clients.",
        "skill": "Teach an agent this program: a skill, or a part of AGENTS.md.",
        "backend": "Serve clients that record without an API key.",
        "token": "Print a client token, which lets a capture runtime record.",
        "emulator": "Imitate VideoDB's cloud on this machine, to test without a key.",
    },
    "A fleet": {
        "ship": "Append what was recorded to a lake, each line once.",
        "lake": "Look after a lake, the table that recorders ship to.",
    },
    "VideoDB's service": {
        "session": "Manage capture sessions, step by step.",
        "streams": "List the streams of a session.",
        "pipelines": "Manage the transcripts and indexes of a session's streams.",
        "alerts": "Manage the alerts of a session.",
    },
    "More": {
        "prune": "Show events that are too old, and with --yes remove them.",
        "forget": "Show what was said or shown, and with --yes delete it.",
        "redact": "Find secrets in what was recorded, and with --yes replace them.",
        "cache": "Manage the query cache.",
        "config": "Show which options the file and the environment set.",
        "help": "Show the help of a command: vdbevents help query.",
    },
}
"""The commands, and what each does, in the order of `--help`."""

COMMANDS: Final = tuple(name for group in GROUPS.values() for name in group)
"""The commands and groups of commands, in the order of `--help`: each is a module of `vdbevents.cli`.

The module `x` has a function `x`, and its `HELP`, or a group of commands `x_app`. It may have a `COMMAND`, or
a `GROUP`: the class that parses its command line.
"""

PROGRAM: Final = "Save and search the events of a desktop recorded with VideoDB."
"""What the program does."""

OPTIONS: Final = (
    ("--version", "Show the version and exit."),
    ("--install-completion", "Install completion for the current shell."),
    (
        "--show-completion",
        "Show completion for the current shell, to copy it or customize the installation.",
    ),
    ("-h, --help", "Show this message and exit."),
)
"""The options of the program: typer's words for those that it adds."""

ENVIRONMENT: Final = {
    "VIDEO_DB_API_KEY": "The API key; may also be in a .env file or the keyring.",
    "VIDEODB_EVENTS_DIR": "The state directory, unless a command line names one.",
    "XDG_STATE_HOME": "Its videodb is the state directory otherwise; default: ~/.local/state.",
    "XDG_CONFIG_HOME": "Its vdbevents/config.toml sets defaults of options; default: ~/.config.",
    "VDBEVENTS_…": "The default of an option, such as VDBEVENTS_QUERY_LIMIT=20.",
    "VDBEVENTS_PAGER": "The pager for text, instead of PAGER or less.",
    "NO_COLOR": "If set: no colour, unless --color always.",
}
"""The variables that most users need; docs/cli.md has all."""

EXIT_CODES: Final = {
    0: "found, or done",
    1: "nothing found",
    2: "wrong usage or input",
    3: "no listener runs, or one runs already",
    4: "the service refused: key, rights, certificate",
    5: "the service was not reached, or something does not deliver",
    6: "the recording failed",
    70: "a bug in vdbevents",
    74: "no room on the disk or in memory",
    130: "interrupted by Ctrl-C",
}

EXAMPLES: Final = (
    "vdbevents demo",
    "vdbevents capture --duration 30m",
    "vdbevents query --last 1h --grep invoice",
)

NOTES: Final = (
    "Times are local in everything for people, and UTC in data (json, jsonl, csv, parquet).",
    "Each option that the configuration sets has a --no- form that undoes it, such as --no-limit.",
)
