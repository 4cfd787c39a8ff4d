"""A window or an app counts where a description names it explicitly, and nowhere else."""

import json

import pytest

from vdbevents.events.window_names import LONGEST_NAME, window_of


def seen(text, **members):
    return window_of({"channel": "visual_index", "data": {"text": text, **members}})


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("[VS Code] main.py, a test fails", "VS Code"),
        ("[payments-api - ingest.py - Editor] # ingest.py", "payments-api - ingest.py - Editor"),
        (" [ main.py [payments] - Editor ]\nimport os", "main.py [payments] - Editor"),
        ("[Slack]", "Slack"),
        ("[消息 - 微信] 你好", "消息 - 微信"),
        ("[1Password] a vault", "1Password"),
        ("[Gmail - [redacted:email]] an inbox", "Gmail - [redacted:email]"),
        *(
            (text, None)
            for text in (
                "User is viewing a Slack conversation with 3 unread messages",
                "msg 4 - Editor / Wei Zhang 10:03 AM",
                "Slack: the channel #release",
                "the window [Slack] is open",
                "[documentation](https://example.com)",
                "[10:42] a message",
                "[10:42:07 AM] a message",
                "[2026-03-02] a message",
                "[3/14] Linking",
                "[ERROR] the build failed",
                "[INFO] Scanning for projects...",
                "[x] buy milk",
                "[ ] buy milk",
                "[Scene 3] a desk",
                "[display 1] a desktop",
                "[unknown] a desk",
                "[redacted:api-key] on the screen",
                "[cut off",
                "[two\nlines] here",
                "[[a] [b]",
                '["Slack", "Zoom"]',
                "[" + "a" * (LONGEST_NAME + 1) + "] x",
                "",
                "[]",
            )
        ),
    ],
)
def test_a_name_in_brackets_before_the_text_is_the_window(text, window):
    assert seen(text) == window


@pytest.mark.parametrize(
    ("document", "window"),
    [
        ({"window": "Inbox"}, "Inbox"),
        ({"active_window": "Inbox - Gmail", "summary": "mail"}, "Inbox - Gmail"),
        ({"app": "Slack"}, "Slack"),
        ({"application": "Slack", "window_title": "#release"}, "#release - Slack"),
        ({"app": "Slack", "window": "#release - Slack"}, "#release - Slack"),
        ({"app": "Chrome", "title": "Inbox"}, "Inbox - Chrome"),
        ({"window": {"title": "Inbox", "app": "Chrome"}}, "Inbox - Chrome"),
        ({"app": {"name": "Chrome"}}, "Chrome"),
        ({"window": "none", "app": "Slack"}, "Slack"),
        ({"window": " Inbox\t"}, "Inbox"),
        ({"title": "A quarterly report"}, None),
        ({"window": None, "app": "unknown"}, None),
        ({"window": 5, "app": ["Slack"]}, None),
        ({"text": "[Slack] hello"}, None),
        ({}, None),
    ],
)
def test_a_member_of_a_json_text_names_the_window(document, window):
    as_text = json.dumps(document)

    assert seen(as_text) == window
    assert seen(f"```json\n{json.dumps(document, indent=2)}\n```") == window
    assert seen(document) == window
    assert seen(f"Here it is: {as_text}") is None
    assert seen(as_text[:-1]) is None


def test_a_member_of_the_event_counts_before_its_text():
    assert seen("[Slack] hello", window="Inbox") == "Inbox"
    assert seen('{"window":"B"}', windowTitle="A") == "A"
    assert window_of({"type": "scene_index", "app": "Chrome", "text": "hello"}) == "Chrome"


@pytest.mark.parametrize("channel", ["transcript", "audio_index", "alert", "vdbevents", None])
def test_only_a_description_of_the_screen_has_a_window(channel):
    assert window_of({"channel": channel, "window": "Inbox", "data": {"text": "[VS Code] hello"}}) is None
