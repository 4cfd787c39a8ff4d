"""A real headless Chromium, driven over its debugging protocol."""

import base64
import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path

from websockets.sync.client import connect

from support.patience import patient

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


def browser_path():
    """Return the browser's path; None where none is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Page:
    """One page of a browser: what it shows, and what it says on its console."""

    def __init__(self, address):
        self._resources = contextlib.ExitStack()
        # With a limit of unread messages it would stop to read, and take ten seconds to be closed.
        limits = {"max_size": None, "max_queue": None}
        opening = connect(address, **limits, open_timeout=patient(20), ping_interval=None)
        self._socket = self._resources.enter_context(opening)
        self._numbers = itertools.count(1)
        self.messages = []
        self.requests = []
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **parameters):
        """Call a method; return its result."""
        number = next(self._numbers)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv(timeout=patient(60)))
            if message.get("id") == number:
                assert "error" not in message, (method, message["error"])
                return message["result"]
            self._note(message)

    def _note(self, message):
        name, data = message.get("method"), message.get("params", {})
        if name == "Runtime.exceptionThrown":
            details = data["exceptionDetails"]
            self.messages.append(f"{details['text']} {details.get('exception', {}).get('description', '')}")
        elif name == "Runtime.consoleAPICalled" and data["type"] in ("error", "warning", "assert"):
            self.messages.append(" ".join(str(one.get("value")) for one in data["args"]))
        elif name == "Log.entryAdded" and data["entry"]["level"] in ("error", "warning"):
            self.messages.append(f"{data['entry']['text']} {data['entry'].get('url', '')}")
        elif name == "Network.requestWillBeSent":
            self.requests.append(data["request"]["url"])

    def open(self, address):
        """Open an address, and wait until the page is loaded."""
        self.call("Page.navigate", url=address)
        self.wait_for("document.readyState === 'complete'")

    def value(self, expression):
        """Return the value of a JavaScript expression, which may be a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait_for(self, expression, seconds=20):
        """Wait until an expression is true; return its value."""
        deadline = time.monotonic() + patient(seconds)
        # An element has no value of its own, and is there.
        shown = f"(value => value instanceof Node ? true : value)({expression})"
        while True:
            with contextlib.suppress(AssertionError):
                if value := self.value(shown):
                    return value
            assert time.monotonic() < deadline, f"never: {expression}; console: {self.messages}"
            time.sleep(0.02)

    def text(self, selector):
        """Return the text of an element as it is shown."""
        return self.value(f"document.querySelector({json.dumps(selector)}).innerText")

    def press(self, key):
        """Press a key."""
        text = {"text": key} if len(key) == 1 else {}
        if key == "Enter":
            text = {"text": "\r", "windowsVirtualKeyCode": 13}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def write(self, text):
        """Write a text where the focus is."""
        self.call("Input.insertText", text=text)

    def mouse(self, kind, x, y, **others):
        """Send an event of the mouse."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **others)

    def touch(self, kind, *points):
        """Send an event of fingers, each at a place."""
        points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=points)

    def click(self, selector):
        """Click an element."""
        self.value(f"document.querySelector({json.dumps(selector)}).click()")

    def size(self, width, height, *, dark=False):
        """Set the size of the page, in CSS pixels, and what the system prefers."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)

    def picture(self, path):
        """Write a PNG of the page."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        Path(path).write_bytes(base64.b64decode(data))

    def close(self):
        """Leave the page."""
        self._resources.close()


@contextlib.contextmanager
def opened_browser():
    """Yield a function that opens a page: a new one, without cookies of others."""
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
        command = [
            *(browser_path(), "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={folder}"),
            *("--no-sandbox", "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--mute-audio"),
            *("--disable-background-networking", "--disable-component-update", "about:blank"),
        ]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        pages = []
        try:
            port = _port_in(process)

            def new_page():
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}/json/new?about:blank", method="PUT"
                )
                with urllib.request.urlopen(request, timeout=patient(20)) as answer:
                    pages.append(Page(json.load(answer)["webSocketDebuggerUrl"]))
                return pages[-1]

            yield new_page
        finally:
            for page in pages:
                page.close()
            # It has nothing to keep, and takes seconds to end in order.
            process.kill()
            process.wait()
            process.stderr.close()


def _port_in(process):
    for line in process.stderr:
        if line.startswith("DevTools listening on "):
            return int(line.rsplit(":", 1)[1].split("/")[0])
    message = f"the browser ended with {process.wait()} before it listened"
    raise AssertionError(message)
