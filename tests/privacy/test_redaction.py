"""What the rules replace, and what they leave alone."""
# ruff: noqa: RUF001

import base64
import json
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, strategies as st
from support.patience import patient

from vdbevents.events import envelope
from vdbevents.events.identity import identity_of
from vdbevents.privacy import folding
from vdbevents.privacy.redaction import KINDS, RedactionRules, Redactor

AT_MS = 1795230334454
ALL = Redactor(RedactionRules(frozenset(KINDS)))
DEFAULT = Redactor()
SESSION = Path(__file__).parent.parent.parent / "vdbevents" / "emulator" / "data" / "real-session.jsonl"

# Put together here: a scanner of this repository must not take them for real ones.
RANDOM = "aZ3bY7cX1dW5eV9f"
API_KEYS = {
    "sk-": "sk-" + RANDOM * 3,
    "sk-proj-": "sk-proj-" + RANDOM + "-" + RANDOM + "_" + RANDOM,
    "sk-ant": "sk-ant-api03-" + RANDOM * 5,
    "with the digits of an id": "sk-" + "0a1b2c3d-4e5f-6a7b-8c9d-0e1f2a3b4c5d",
    "Amazon": "AKIA" + "Z2X3C4V5B6N7M2A3",
    "Google": "AIza" + RANDOM * 2 + "abc",
    "Stripe": "sk_live_" + RANDOM + "abcdefgh",
    "Groq": "gsk_" + RANDOM * 3,
    "Hugging Face": "hf_" + RANDOM * 2,
    "Twilio": "SK" + "0123456789abcdef" * 2,
    "SendGrid": "SG." + "abcdefghij0123456789ab" + "." + "a" * 43,
}
TOKENS = {
    "GitHub": "ghp_" + RANDOM * 2 + "abcd",
    "GitHub, fine-grained": "github_pat_" + RANDOM + "_" + RANDOM,
    "GitLab": "glpat-" + RANDOM + "-abcd",
    "Slack": "xoxb-" + "123456789012-" + RANDOM,
    "npm": "npm_" + RANDOM * 2 + "abcd",
    "JSON Web Token": "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxMjM0In0." + RANDOM,
    "Telegram": "123456789:AA" + RANDOM * 2 + "a",
}
PEM = (
    "-----BEGIN RSA PRIVATE KEY-----\nMIIE" + RANDOM * 3 + "\n" + RANDOM + "==\n-----END RSA PRIVATE KEY-----"
)
CARDS = {
    "without spaces": "4111111111111111",
    "in fours": "4111 1111 1111 1111",
    "with dashes": "5555-5555-5555-4444",
    "with dots": "4111.1111.1111.1111",
    "as printed on an Amex": "3782 822463 10005",
    "Discover": "6011111111111117",
    "JCB": "3530111333300000",
    "UnionPay": "6212345678901265",
    "Diners": "30569309025904",
    "spoken": "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
    "spoken with commas": "4111, 1111, 1111, 1111",
    "spoken in pairs": "41 11 11 11 11 11 11 11",
    "on the lines of a screen": "4111 / 1111 / 1111 / 1111",
    "on four lines": "4111\n1111\n1111\n1111",
    "full-width digits": "４１１１　１１１１　１１１１　１１１１",
    "Arabic digits": "٤١١١ ١١١١ ١١١١ ١١١١",
    "narrow spaces": "4111\u202f1111\u202f1111\u202f1111",
    "non-breaking dashes": "4111\u20111111\u20111111\u20111111",
    "with invisible characters": "4111\u200b1111\u200b1111\u200b1111",
}


def received(message):
    content = message if isinstance(message, bytes) else json.dumps(message).encode()
    return envelope.envelop(content, AT_MS)


def redacted_text(text, redactor=DEFAULT):
    """The text of a transcript after redaction, with the line checked to be the envelope of it."""
    record = redactor.record(received({"channel": "transcript", "data": {"text": text}}))
    event = json.loads(record.line)
    assert {"ts", "unix_ts", *record.event} == set(event)
    assert record.event["data"] == event["data"]
    assert redactor.record(record) == record
    return event["data"]["text"]


@pytest.mark.parametrize("secret", API_KEYS.values(), ids=API_KEYS)
def test_api_keys_are_replaced(secret):
    assert redacted_text(f"my key is {secret}, ok?") == "my key is [redacted:api-key], ok?"


@pytest.mark.parametrize("secret", TOKENS.values(), ids=TOKENS)
def test_tokens_are_replaced(secret):
    assert redacted_text(f"x\n{secret}\ny") == "x\n[redacted:token]\ny"


def test_of_credentials_in_http_and_addresses_only_the_secret_is_replaced():
    assert redacted_text(f"Authorization: Bearer {RANDOM}abcd") == "Authorization: Bearer [redacted:token]"
    assert redacted_text("open https://ada:hunter22@example.com/x") == (
        "open https://ada:[redacted:token]@example.com/x"
    )


def test_a_private_key_is_replaced_whole_and_so_is_one_that_is_cut_off():
    lines = PEM.split("\n")

    assert redacted_text(f"before {PEM} after") == "before [redacted:private-key] after"
    assert redacted_text(" / ".join(lines)) == "[redacted:private-key]"
    assert redacted_text(" / ".join([*lines[:2], "the end"])) == "[redacted:private-key] / the end"
    assert redacted_text(json.dumps({"key": PEM})) == '{"key": "[redacted:private-key]"}'


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
def test_cards_are_replaced(card):
    assert redacted_text(f"number {card}. Thanks") == "number [redacted:card]. Thanks"
    assert redacted_text(f"{card}, 12/28, 123") == "[redacted:card], 12/28, 123"


@pytest.mark.parametrize(
    "text",
    [
        "4111111111111112 has a wrong checksum, 1234567812345670 no issuer",
        "0.4111111111111111 and 4111111111111111.5 are fractions",
        "at 1795230334454 ms, 1795230334454123 µs, 2026-11-21T03:05:36.200Z",
        "0f8fad5b-d9cb-469f-a165-70867728950e and 4111111111111111abcdef00112233445566",
        "rts-4111111111111111 cap-4111111111111111 ws_4111111111111111",
        "Mo Tu We Th Fr Sa Su 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28",
        "2023 2024 2025 2026 2027 2028",
        "sk-folding-cube-container-extra-large sk-circle-fade-dot-12",
        "the key- and token-based approach, risk-averse, task-force-141",
        "-----BEGIN CERTIFICATE-----\nMIIE" + RANDOM * 3 + "\n-----END CERTIFICATE-----",
        "a bearer of good news about the basic idea; see https://example.com:8080/a?b=c@d",
        "call +49 170 1234567 or mail ada@example.com or pay DE89 3704 0044 0532 0130 00",
        "9e107d9d372bb6826bd81d3542a419d6 is a digest, da39a3ee5e6b4b0d3255bfef95601890afd80709 as well",
    ],
)
def test_ordinary_texts_stay_by_default(text):
    assert redacted_text(text) == text


def test_what_is_off_by_default_can_be_on():
    text = "IBAN DE89 3704 0044 0532 0130 00, GB82WEST12345698765432; ada@example.com, a.l+x@m.example.co.uk"
    assert (
        redacted_text(text, ALL)
        == "IBAN [redacted:iban], [redacted:iban]; [redacted:email], [redacted:email]"
    )
    phones = ["+49 170 1234567", "+1 (555) 867-5309", "0049 30 123456", "(555) 867-5309", "030 1234567"]
    assert [redacted_text(phone, ALL) for phone in phones] == ["[redacted:phone]"] * len(phones)
    for text in (
        "DE88 3704 1144 1532 1130 11 is wrong",
        "10.0.12.255, 2026-11-21, 10:15:30, version 1.2.3, 1,234,567 rows, p. 1234-1240, ISBN 0-306-40615-2",
        "@dataclass a@b, Looking at 555-1234 of 1000000",
    ):
        assert redacted_text(text, ALL) == text


def test_each_kind_can_be_off():
    text = f"{API_KEYS['Stripe']} {TOKENS['GitHub']} 4111111111111111"
    only = Redactor(RedactionRules(frozenset({"card"})))

    assert redacted_text(text, Redactor(RedactionRules(frozenset()))) == text
    assert redacted_text(text, only) == text.replace("4111111111111111", "[redacted:card]")


def test_ids_times_and_names_of_events_stay_and_texts_under_their_names_do_not():
    message = {
        "channel": "transcript",
        "rtstream_id": "4111111111111111",
        "capture_session_id": TOKENS["GitHub"],
        "start": 4111111111111111,
        "ws_ids": ["4111111111111111"],
        "status": "paid with 4111111111111111",
    }
    event = DEFAULT.record(received(message)).event

    assert event == {**message, "status": "paid with [redacted:card]"}


def test_secrets_in_lists_numbers_keys_and_duplicate_members_are_replaced():
    message = (
        b'{"lines":["my card: 4111 1111","1111 1111","bye"],"number":4111111111111111,"id":4111111111111111,'
        b'"4111111111111111":1,"text":"4111111111111111","text":"2","rows":[[4111111111111111,{"a":"4111111111111111"}]]}'
    )
    body = DEFAULT.record(received(message)).line.split(b",", 2)[2]

    assert body == (
        b'"lines":["my card: [redacted:card]","","bye"],"number":"[redacted:card]","id":4111111111111111,'
        b'"[redacted:card]":1,"text":"[redacted:card]","text":"2","rows":[["[redacted:card]",{"a":"[redacted:card]"}]]}\n'
    )


def test_all_other_bytes_of_a_line_stay():
    message = (
        rb'{"a":1e400,"b":-0,"c":1.50,"d":"\ud83d \u0007\"\\ 4111111111111111 \u2028\n","e":[],"d":"\ud83d"}'
    )
    line = received(message).line

    assert b"4111111111111111" in line
    assert DEFAULT.line(line).content == line.replace(b"4111111111111111", b"[redacted:card]")


def test_escapes_hide_nothing():
    key = API_KEYS["sk-proj-"]
    escaped = "".join(f"\\u{ord(character):04x}" for character in key)

    assert redacted_text("{" + f'"a":"x\\n{key}","b":"{escaped}"' + "}") == (
        '{"a":"x\\n[redacted:api-key]","b":"[redacted:api-key]"}'
    )
    # As other recorders may write it.
    assert DEFAULT.line(f'{{"data":{{"text": "{escaped}" }} }}\n'.encode()).content == (
        b'{"data":{"text": "[redacted:api-key]" } }\n'
    )
    assert redacted_text("4111\\/1111\\/1111\\/1111") == "[redacted:card]"


def test_messages_that_cannot_be_read_hide_nothing():
    key, token = API_KEYS["sk-"], TOKENS["GitHub"]
    plain = DEFAULT.record(received(f'["{key}", {token}'.encode()))
    binary = DEFAULT.record(received(b"\xff " + token.encode() + b" \xfe"))
    wide = DEFAULT.record(received(b"\xff\xfe" + f"is {token}.".encode("utf-16-le")))

    assert plain.event == {"raw": '["[redacted:api-key]", [redacted:token]'}
    assert base64.b64decode(binary.event["raw_base64"]) == b"\xff [redacted:token] \xfe"
    assert token.encode("utf-16-le")[:20] not in base64.b64decode(wide.event["raw_base64"])
    assert DEFAULT.line(b'{"torn": "' + token.encode()).content == b'{"torn": "[redacted:token]'


def test_known_secrets_are_replaced_whatever_they_look_like():
    redactor = Redactor(RedactionRules(frozenset(), secrets=("correct horse battery staple", "short")))

    assert redacted_text("a short: correct horse battery staple", redactor) == "a short: [redacted:api-key]"


def test_own_expressions_are_marked_with_their_names():
    rules = RedactionRules(frozenset({"card"}), {"project": r"Project [A-Z]\w+", "mark": "redacted|card"})
    redactor = Redactor(rules)

    assert rules.names == ["card", "project", "mark"]
    assert redacted_text("Is Projeckt Xé or Project Élan not Project Titané?", redactor) == (
        "Is Projeckt Xé or Project Élan not [redacted:project]é?"
    )
    assert redacted_text("𝔘 \U0001f600 a Project Titan 4111111111111111", redactor) == (
        "𝔘 \U0001f600 a [redacted:project] [redacted:card]"
    )


@pytest.mark.parametrize(
    ("name", "expression"),
    [("a", "("), ("a", "a*"), ("a", r"(a)\1"), ("a", "x" * 1001), ("A b", "x"), ("a", "[a-z]{2000}")],
)
def test_a_wrong_expression_is_refused(name, expression):
    with pytest.raises(ValueError, match=r"a: |a name has"):
        Redactor(RedactionRules(expressions={name: expression}))


def test_an_expression_takes_no_longer_than_the_text_is_long():
    redactor = Redactor(RedactionRules(expressions={"slow": "(a+)+b"}))
    began = time.process_time()

    assert redactor.words("a" * 100_000) == "a" * 100_000
    assert time.process_time() - began < patient(5)


@pytest.mark.parametrize(
    "unit",
    [
        "4 ",
        "sk-",
        "eyJ",
        "a@",
        "x",
        "-----BEGIN PRIVATE KEY-----",
        "\\u0034",
        "４",
        "DE89 ",
        "://a:",
        "+4 ",
        "\\",
        '\\"',
    ],
)
def test_the_time_for_a_long_text_is_proportional_to_it(unit):
    seconds = []
    for size in (5_000, 50_000):
        text = (unit * size)[:size]
        began = time.process_time()
        ALL.text(text.encode())
        seconds.append(time.process_time() - began)

    # Ten times the text: a hundred times the time would be proportional to its square.
    assert seconds[1] < max(40 * seconds[0], 0.2)


def test_a_long_word_is_searched_only_for_what_its_characters_allow():
    def seconds(unit):
        line = received({"channel": "x", "data": {"text": unit * ((1 << 20) // len(unit))}}).line
        durations = []
        for _ in range(3):
            redactor = Redactor()
            began = time.process_time()
            assert redactor.line(line) == (line, {})
            durations.append(time.process_time() - began)
        return min(durations)

    assert seconds("z") < seconds("zzzzzzz_-.:=/") / 2


def test_long_words_are_not_kept_in_memory():
    redactor = Redactor()
    lines = [received({"data": {"text": f"{number}z" * 20_000}}).line for number in range(20)]
    tracemalloc.start()
    try:
        for line in lines:
            assert redactor.line(line) == (line, {})
        assert tracemalloc.get_traced_memory()[0] < len(lines[-1])
    finally:
        tracemalloc.stop()


@pytest.mark.long
def test_the_memory_for_a_text_is_in_proportion_to_it_and_small():
    size = 1 << 20
    for text in ("\\" * size, "7 " * (size // 2), "7" * size):
        line = received({"data": {"text": text + " 4111111111111111"}}).line
        tracemalloc.start()
        try:
            assert DEFAULT.line(line).counts == {"card": 1}
            assert tracemalloc.get_traced_memory()[1] < 24 * len(line), text[:2]
        finally:
            tracemalloc.stop()


def test_a_number_is_found_wherever_in_a_long_text_it_is():
    for before in (1 << 18) - 20, (1 << 18) - 8, (1 << 18) + 3, 3 << 18:
        line = received({"data": {"text": "w " * (before // 2) + "4111 1111 1111 1111"}}).line
        assert DEFAULT.line(line).counts == {"card": 1}


@given(
    st.lists(
        st.text(max_size=3) | st.sampled_from(["\\", '"', "\n", "\x1b", "\ud83d\ude00", "\ud800", "/"]),
        max_size=8,
    )
)
def test_places_in_an_escaped_text_are_those_of_its_characters(parts):
    text = "".join(parts)
    # Each character as it may be written, its shortest escape among them.
    written = [json.dumps(character)[1:-1] for character in text]
    begins = [sum(map(len, written[:number])) for number in range(len(text) + 1)]

    assert folding.unescaped("".join(written)) == json.loads(f'"{"".join(written)}"')
    if folding.unescaped("".join(written)) == text:
        assert folding.written_places("".join(written), range(len(text) + 1)) == begins


def test_the_real_session_stays_as_it_is():
    lines = SESSION.read_bytes().splitlines(keepends=True)

    assert len(lines) > 100
    assert [line for line in lines if ALL.line(line) != (line, {})] == []


def test_the_counts_say_how_many_of_each_kind_were_replaced():
    line = received({"a": "4111111111111111 4111111111111111", "b": TOKENS["npm"]}).line

    assert DEFAULT.line(line).counts == {"card": 2, "token": 1}


def test_a_received_and_a_fetched_copy_have_one_identity_after_redaction():
    data = {"text": "my card is 4111111111111111", "start": 1000, "end": 2000}
    live = received({"channel": "transcript", "rtstream_id": "rts-1", "data": {**data, "is_final": True}})
    fetched = envelope.backfilled_record(
        {"channel": "transcript", "rtstream_id": "rts-1", "data": data}, AT_MS
    )

    assert DEFAULT.record(live).identity == DEFAULT.record(fetched).identity
    assert DEFAULT.record(live).identity != live.identity
    assert DEFAULT.record(live).identity == identity_of(json.loads(DEFAULT.record(live).line))


PARTS = st.lists(
    st.one_of(
        st.text(max_size=6),
        st.sampled_from(
            [*CARDS.values(), *API_KEYS.values(), *TOKENS.values(), PEM, "\ud800", "\\u0034", "\\"]
        ),
    ),
    max_size=6,
)


@given(parts=PARTS, is_escaped=st.booleans())
def test_any_text_stays_json_and_a_second_pass_changes_nothing(parts, is_escaped):
    text = " ".join(parts)
    line = received(
        json.dumps({"data": {"text": [text, text]}}, ensure_ascii=is_escaped).encode("utf-8", "replace")
    ).line
    once = ALL.line(line).content

    assert isinstance(json.loads(once), dict)
    assert ALL.line(once).content == once
    for secret in ("4111111111111111", API_KEYS["Stripe"], TOKENS["GitHub"]):
        assert secret.encode() not in once


@given(
    texts=st.lists(PARTS.map(" ".join) | st.sampled_from(["a\u00a0b", "caf\u00e9", "\u4f60\u597d", "x" * 30]))
)
def test_what_is_looked_at_together_is_redacted_as_each_alone(texts):
    records = [
        received(json.dumps({"data": {"text": text}}, ensure_ascii=False).encode("utf-8", "replace"))
        for text in texts
    ]
    for rules in (ALL, DEFAULT, Redactor(RedactionRules(frozenset(), secrets=("x" * 30,)))):
        together = rules.records(records)
        # A redactor of its own: what another line taught it must make no difference.
        alone = [Redactor(rules.rules).record(record) for record in records]
        assert [record.line for record in together] == [record.line for record in alone]


def test_a_secret_is_found_in_whichever_line_of_many_it_is():
    usual = [
        {"channel": "transcript", "rtstream_id": "rts-" + "0a1b2c3d" * 4, "data": {"text": text}}
        for text in (
            "plain",
            "a key of it",
            'quoted "word"',
            "two\nlines",
            "caf\u00e9 \u4f60",
            "a@b.c",
            "x" * 40,
        )
    ]
    for secret in (*API_KEYS.values(), *TOKENS.values(), PEM, *CARDS.values()):
        for place in range(len(usual) + 1):
            events = [*usual[:place], {"data": {"text": f"it is {secret} now"}}, *usual[place:]]
            records = [received(json.dumps(event).encode()) for event in events]
            changed = [
                number
                for number, (one, other) in enumerate(zip(records, Redactor().records(records), strict=True))
                if one.line != other.line
            ]
            assert changed == [place], secret
