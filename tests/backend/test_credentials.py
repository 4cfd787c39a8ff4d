import stat

import pytest

from vdbevents.backend.credentials import credentials_of, make_credentials
from vdbevents.errors import InputError
from vdbevents.journal.state import StateDirectory


def test_credentials_are_created_once_and_readable_by_their_owner_only(tmp_path):
    directory = StateDirectory(tmp_path)
    assert credentials_of(directory) is None
    made = make_credentials(directory)

    assert make_credentials(directory) == credentials_of(directory) == made
    assert made.token != made.webhook_secret
    assert len(made.token) == len(made.webhook_secret) == 43
    assert stat.S_IMODE(directory.backend_credentials.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "content", [b"", b"[]", b'{"token": ""}', b'{"token": "short", "webhook_secret": "short"}', b"\xff"]
)
def test_a_malformed_file_is_reported_and_not_replaced(tmp_path, content):
    directory = StateDirectory(tmp_path)
    directory.backend_credentials.write_bytes(content)

    with pytest.raises(InputError, match="videodb_backend_credentials") as raised:
        make_credentials(directory)
    assert raised.value.error_id == "backend-credentials-invalid"
    assert directory.backend_credentials.read_bytes() == content
