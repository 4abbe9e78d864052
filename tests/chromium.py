"""A page in headless Chromium, the network off but for this machine: its requests, its complaints, what it shows.

Drives the browser through its debugging port with websocket-client, which comes with JupyterLab: no further package.
"""

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --remote-debugging-port=0 "
    "--remote-allow-origins=* --window-size=1200,900"
).split()
#: No name resolves but this machine: a page that loads anything from outside shows up as a failed request.
_OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"


def find() -> str:
    """Path of Chromium; skips the test without one, or fails it where SLERLIB_REQUIRE_BROWSER=1."""
    named = [os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome"]
    for path in filter(None, map(shutil.which, filter(None, named))):
        return path
    reason = "Chromium was not found; install it (Debian: apt-get install chromium) or set CHROMIUM to its path"
    if os.environ.get("SLERLIB_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


class Page:
    """Open a file, or an address of this machine, and wait until it is loaded. Use as a context manager.

    height: of the window in pixels; JupyterLab draws only the cells that are in it.
    """

    def __init__(self, page: Path | str, profile: Path, height: int = 900):
        self.url = page if str(page).startswith("http://127.0.0.1:") else Path(page).resolve().as_uri()
        self.profile, self.height = Path(profile), height
        self.requests, self.blocked, self.complaints, self._last = {}, [], [], 0

    def __enter__(self):
        import websocket

        self._browser = subprocess.Popen(
            [find(), *_FLAGS, _OFFLINE, f"--user-data-dir={self.profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            port, path = self._port()
            self._socket = websocket.create_connection(f"ws://127.0.0.1:{port}{path}", timeout=30)
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Network", "Page", "Runtime", "Log"):
                self._call(f"{domain}.enable")
            size = {"width": 1200, "height": self.height, "deviceScaleFactor": 1, "mobile": False}
            self._call("Emulation.setDeviceMetricsOverride", **size)
            self._call("Page.navigate", url=self.url)
            self._until_loaded()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc):
        if hasattr(self, "_socket"):
            self._socket.close()
        self._browser.kill()
        self._browser.wait()

    _session = None

    def _port(self):
        file, end = self.profile / "DevToolsActivePort", time.monotonic() + 30
        while time.monotonic() < end:
            if file.exists() and len(lines := file.read_text().splitlines()) == 2:
                return lines
            time.sleep(0.05)
        raise TimeoutError("Chromium did not open its debugging port within 30 s.")

    def _call(self, method, **params):
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == message["id"]:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._note(answer)

    def _note(self, event):
        params = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests[params["requestId"]] = params["request"]["url"]
            case "Network.webSocketCreated":
                self.requests[params["requestId"]] = params["url"]
            case "Network.loadingFailed" if params.get("blockedReason") == "csp":  # it never left the browser
                self.blocked.append(self.requests.pop(params["requestId"], ""))
            case "Runtime.exceptionThrown":
                about = params["exceptionDetails"]
                thrown = about.get("exception", {})
                words = thrown.get("description") or json.dumps(thrown.get("value", thrown))
                self.complaints.append(f"{about.get('text')} {words}")
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.complaints.append(params["entry"]["text"])
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "assert"):
                words = (str(part.get("value", part.get("description"))) for part in params["args"])
                self.complaints.append(" ".join(words))

    def _until_loaded(self):
        end = time.monotonic() + 90  # a page that a kernel makes comes with its last cell
        while time.monotonic() < end:
            if self.evaluate("document.readyState === 'complete' && location.protocol !== 'about:'"):
                return
            time.sleep(0.05)
        raise TimeoutError(f"{self.url} did not load within 90 s.")

    def evaluate(self, script: str):
        """Value of a JavaScript expression in the page."""
        return self._call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def reopen(self) -> None:
        """Load the page again."""
        self.evaluate("window.before = true")
        self._call("Page.reload")
        self.until("!window.before && document.readyState === 'complete'")

    def until(self, script: str, seconds: float = 120):
        """The first true value of an expression. Raises TimeoutError without one."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                if value := self.evaluate(script):
                    return value
            except RuntimeError:  # the page was left while it was asked
                pass
            time.sleep(0.05)
        raise TimeoutError(f"Nothing came of {script} in {seconds} s. Complaints of the page: {self.complaints}")

    # --- what a person does

    def place(self, element: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element (a JavaScript expression), after it was scrolled into view."""
        script = "(e => { e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect();"
        return tuple(self.evaluate(f"{script} return [b.x, b.y, b.width, b.height]; }})({element})"))

    def mouse(self, kind: str, x: float, y: float, pressed: bool = False, shift: bool = False) -> None:
        """kind: mousePressed, mouseMoved or mouseReleased, of the left button."""
        button = {"button": "left" if pressed or kind != "mouseMoved" else "none", "clickCount": 1}
        pressed = pressed or kind == "mousePressed"
        self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, buttons=int(pressed), modifiers=8 * shift, **button)

    def click(self, element: str) -> None:
        x, y, width, height = self.place(element)
        self.mouse("mousePressed", x + width / 2, y + height / 2)
        self.mouse("mouseReleased", x + width / 2, y + height / 2)

    def drag(self, points: list[tuple[float, float]], shift: bool = False) -> None:
        """Press at the first point, move over the others without a pause, let go at the last."""
        self.mouse("mousePressed", *points[0], shift=shift)
        for point in points[1:]:
            self.mouse("mouseMoved", *point, pressed=True, shift=shift)
        self.mouse("mouseReleased", *points[-1], shift=shift)

    def key(self, name: str) -> None:
        """Press a key: ArrowLeft, Backspace, " " and so on."""
        codes = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Backspace": 8, " ": 32, "Tab": 9}
        about = {"key": name, "code": {" ": "Space"}.get(name, name), "windowsVirtualKeyCode": codes[name]}
        self._call("Input.dispatchKeyEvent", type="keyDown", **about)
        self._call("Input.dispatchKeyEvent", type="keyUp", **about)

    def choose_file(self, element: str, path: Path) -> None:
        """Give a file to an <input type=file>, as its dialog would."""
        found = self._call("Runtime.evaluate", expression=element)["result"]["objectId"]
        self._call("DOM.setFileInputFiles", files=[str(path)], objectId=found)

    def emulate(self, width: int = 1200, dark: bool = False, media: str = "screen") -> None:
        """Show the page as on a screen of that width, light or dark, or as on paper (media="print")."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._call("Emulation.setEmulatedMedia", media=media, features=scheme)
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)

    def overflow(self) -> int:
        """Pixels by which the page is wider than the window."""
        return self.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def outside(self) -> list[str]:
        """Requests that left the file, or the server of the page; `blocked` has those that its own policy stopped."""
        own = ("data:", "blob:") if self.url.startswith("file:") else ("data:", "blob:", self.url.split("/", 3)[2])
        urls = (url.removeprefix("http://").removeprefix("ws://") for url in self.requests.values())
        return [url for url in urls if not url.startswith(own) and url != self.url]

    def broken_images(self) -> list[str]:
        return self.evaluate(
            "[...document.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src.slice(0, 60))"
        )

    def images_without_alt(self) -> int:
        return self.evaluate("[...document.images].filter(i => !i.alt || i.alt.startsWith('No description')).length")

    def screenshot(self, path: Path, width: int = 1200) -> Path:
        """PNG of the whole page."""
        height = min(self.evaluate("document.documentElement.scrollHeight"), 16000)
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        data = self._call("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"]
        path.write_bytes(base64.b64decode(data))
        return path
