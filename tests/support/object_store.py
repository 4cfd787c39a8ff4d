"""An object store with the interface of S3 on loopback, and a proxy before it that fails."""

import contextlib
import http.client
import socket
import subprocess
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support.processes import eventually

BUCKET = "events"
SECRET = "a-very-secret-key"


def environ_of(port):
    """The variables that lead to a store on loopback."""
    return {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "recorder",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
    }


@contextlib.contextmanager
def object_store():
    """Start a store with an empty bucket in a process of its own, and yield its port."""
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _has_bucket(port))
        yield port
    finally:
        server.kill()
        server.wait()


def _has_bucket(port):
    with contextlib.suppress(OSError):
        make = urllib.request.Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")
        with urllib.request.urlopen(make, timeout=10) as answer:
            return answer.status == 200
    return False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        """Say nothing."""

    def handle_any(self):
        faults = self.server.faults
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = faults.choose(self.command, self.path)
        faults.seen.append((self.command, self.path, fault))
        if isinstance(fault, int):
            self._answer(fault, [], b"<Error><Code>Fault</Code></Error>")
            return
        if fault not in ("hung up", "silent"):
            status, headers, content = self._asked(faults.target, body)
        if fault in ("silent", "late"):
            self._wait_for_the_client_to_give_up()
        if fault is not None:
            self.close_connection = True
            return
        self._answer(status, headers, content)

    def _wait_for_the_client_to_give_up(self):
        self.connection.settimeout(self.server.faults.patience)
        with contextlib.suppress(OSError):
            self.connection.recv(1)

    def _asked(self, target, body):
        store = http.client.HTTPConnection("127.0.0.1", target, timeout=60)
        store.request(self.command, self.path, body, dict(self.headers))
        given = store.getresponse()
        content = given.read()
        store.close()
        headers = [(name, value) for name, value in given.getheaders() if name.lower() not in _OF_CONNECTION]
        if self.command == "HEAD":
            return (
                given.status,
                [*headers, ("Content-Length", given.getheader("Content-Length") or "0")],
                None,
            )
        return given.status, headers, content

    def _answer(self, status, headers, content):
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        if content is not None:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content or b"")

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_any  # noqa: N815


_OF_CONNECTION = {"connection", "content-length", "transfer-encoding", "server", "date"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Say nothing of clients that were killed, or have given up."""


class Faults:
    """A proxy that answers some requests itself.

    Attributes:
        port: where it listens.
        target: the store's port.
        choose: returns what becomes of a request (method, path): a status; `lost`, the connection is closed
            after the store has done what was asked; `hung up`, before; `late` and `silent`, there is no
            answer until the client gives up, and the store has or has not done it; or None.
        patience: after so many seconds it gives up to wait for a client that gives up; None for never.
        seen: the requests, each with what became of it.
    """

    def __init__(self, target):
        self.target = target
        self.choose = lambda method, path: None
        self.patience = None
        self.seen = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.faults = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
