import asyncio
import contextlib
import os
import sys

import pytest
from support.processes import PATIENCE

from vdbevents.backend.tunnel import Tunnel, find_cloudflared
from vdbevents.errors import InputError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")


@pytest.fixture
def cloudflared(tmp_path):
    def make(script):
        program = tmp_path / "cloudflared"
        program.write_text(f'#!/bin/sh\necho "$$ $*" >> "{tmp_path}/calls"\n{script}')
        program.chmod(0o755)
        return program

    make.calls = lambda: (tmp_path / "calls").read_text().splitlines()
    return make


def run(program, until):
    """Runs a tunnel until a condition on its addresses and on what it said holds."""
    addresses, said = [], []

    async def main():
        def say(text, **_):
            said.append(text)

        tunnel = Tunnel(program, "http://127.0.0.1:1", say, addresses.append, first_pause=0.01)
        task = asyncio.create_task(tunnel.run())
        async with asyncio.timeout(PATIENCE):
            while not until(addresses, said):  # noqa: ASYNC110 - it is looked at
                await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(main())
    return addresses, said


FOR_EVER = "trap 'exit 0' TERM\nwhile :; do sleep 0.05; done\n"


def test_the_address_is_read_from_the_output_and_not_confused_with_cloudflare_s(cloudflared):
    program = cloudflared(
        "echo 'ERR https://api.trycloudflare.com/t' >&2\necho '| https://a-b-c.trycloudflare.com |' >&2\n"
        + FOR_EVER
    )
    addresses, _ = run(program, lambda addresses, _: addresses)

    assert addresses == ["https://a-b-c.trycloudflare.com"]
    assert [call.split()[1:] for call in cloudflared.calls()] == [["tunnel", "--url", "http://127.0.0.1:1"]]


def test_an_address_in_two_pieces_is_read_whole(cloudflared):
    program = cloudflared(
        "printf 'https://one-tw' >&2\nsleep 0.2\nprintf 'o.trycloudflare.com' >&2\nsleep 0.2\necho >&2\n"
        + FOR_EVER
    )
    addresses, _ = run(program, lambda addresses, _: addresses)

    assert addresses == ["https://one-two.trycloudflare.com"]


def test_a_tunnel_that_ends_is_restarted_with_its_new_address(cloudflared):
    program = cloudflared("echo https://a-$$.trycloudflare.com >&2\nexit 3\n")
    addresses, said = run(program, lambda addresses, _: len(addresses) >= 4)

    pids = [call.split()[0] for call in cloudflared.calls()]
    assert addresses[:4] == [
        f"https://a-{pids[0]}.trycloudflare.com", "", f"https://a-{pids[1]}.trycloudflare.com", "",
    ]  # fmt: skip
    assert "exit code 3" in said[0]
    assert "in 0.01 s" in said[0]
    assert "in 0.02 s" in said[1]


@pytest.mark.parametrize("ends", [FOR_EVER, "trap '' TERM\nwhile :; do sleep 0.05; done\n"])
def test_cloudflared_is_ended_even_if_it_ignores_sigterm(cloudflared, ends):
    program = cloudflared("echo https://x.trycloudflare.com >&2\n" + ends)
    run(program, lambda addresses, _: addresses)

    with pytest.raises(ProcessLookupError):
        os.kill(int(cloudflared.calls()[0].split()[0]), 0)


def test_much_output_does_not_block_it(cloudflared):
    program = cloudflared(
        "echo https://x.trycloudflare.com >&2\ni=0\nwhile [ $i -lt 3000 ]; do i=$((i+1));"
        ' printf "%0200d" 0 >&2; done\nexit 7\n'
    )
    _, said = run(program, lambda _, said: said)

    assert "exit code 7" in said[0]


def test_cloudflared_does_not_get_the_api_key(cloudflared, monkeypatch):
    monkeypatch.setenv("VIDEO_DB_API_KEY", "sk-secret")
    program = cloudflared('echo "https://x${VIDEO_DB_API_KEY}.trycloudflare.com" >&2\n' + FOR_EVER)

    assert run(program, lambda addresses, _: addresses)[0] == ["https://x.trycloudflare.com"]


def test_a_failed_start_is_reported(cloudflared, tmp_path):
    program = cloudflared("")
    program.unlink()
    _, said = run(program, lambda _, said: said)

    assert "could not be started" in said[0]


def test_a_missing_cloudflared_is_reported_with_how_to_install_it(tmp_path):
    with pytest.raises(InputError) as raised:
        find_cloudflared({"PATH": str(tmp_path)})
    assert raised.value.error_id == "cloudflared-missing"
    assert "brew install cloudflared" in raised.value.hint
