"""A proxy on loopback, for HTTP and SOCKS 5, that leads to one server, whatever host is asked for."""

import contextlib
import socketserver
import threading
from urllib.parse import urlsplit


@contextlib.contextmanager
def proxy_to(url):
    """Yield the proxy's `host:port`, and the list of what it was asked for: `(how, host)`."""
    target, asked = urlsplit(url), []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            first = self.rfile.read(1)
            with contextlib.suppress(OSError):
                self._socks() if first == b"\x05" else self._http(first)

        def _socks(self):
            self.rfile.read(self.rfile.read(1)[0])
            self.wfile.write(b"\x05\x00")
            kind = self.rfile.read(4)[3]
            host = self.rfile.read(self.rfile.read(1)[0] if kind == 3 else 4)
            self.rfile.read(2)
            asked.append(("SOCKS", host.decode() if kind == 3 else "an address"))
            self._relay(b"", b"\x05\x00\x00\x01" + bytes(6))

        def _http(self, first):
            method, address, version = (first + self.rfile.readline()).split()
            head = self.rfile.readline()
            while not head.endswith(b"\r\n\r\n"):
                head += self.rfile.readline()
            if method == b"CONNECT":
                asked.append(("CONNECT", address.decode()))
                self._relay(b"", b"HTTP/1.1 200 OK\r\n\r\n")
            else:
                parts = urlsplit(address.decode())
                asked.append((method.decode(), parts.netloc))
                self._relay(b" ".join([method, parts.path.encode(), version]) + b"\r\n" + head, b"")

        def _relay(self, request, answer):
            import socket

            with socket.create_connection((target.hostname, target.port)) as server:
                server.sendall(request)
                self.wfile.write(answer)
                back = threading.Thread(target=self._copy, args=(server.recv, self.connection), daemon=True)
                back.start()
                self._copy(self.rfile.read1, server)
                with contextlib.suppress(OSError):
                    server.shutdown(socket.SHUT_WR)
                back.join()

        @staticmethod
        def _copy(read, to):
            with contextlib.suppress(OSError):
                while piece := read(1 << 16):
                    to.sendall(piece)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
