"""A real browser for tests: headless Chromium, told what to do through two pipes (the DevTools protocol)."""

import json
import os
import select
import shutil
import subprocess
import sys
import time

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
EXECUTABLE = next(filter(None, map(shutil.which, NAMES)), None)
HOW_TO_GET_ONE = "no browser: make browser (or apt-get install chromium) gives one"
# The browser reads its file descriptor 3 and writes its 4; whatever is there now makes room.
_LAUNCH = (
    "import os, sys, fcntl\n"
    "pipes = [fcntl.fcntl(int(one), fcntl.F_DUPFD, 10) for one in sys.argv[1:3]]\n"
    "for at, pipe in enumerate(pipes, 3): os.dup2(pipe, at)\n"
    "os.execv(sys.argv[3], sys.argv[3:])\n"
)
_FLAGS = (
    "--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-quic", "--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars",
)  # fmt: skip
# Runs before anything of a page, whatever its policy says: ran(...) and dialogs are noted, and so is what was refused.
_WATCH = """
window.whatRan = [];
window.refused = [];
window.ran = (what) => { window.whatRan.push(String(what)); };
window.alert = window.confirm = window.prompt = window.ran;
addEventListener("securitypolicyviolation", (event) => { window.refused.push(event.effectiveDirective); });
"""
_PATIENCE_SECONDS = 60


class Browser:
    """One browser process; its pages are opened one after the other."""

    def __init__(self, profile):
        to_browser, commands = os.pipe()
        answers, from_browser = os.pipe()
        arguments = [EXECUTABLE, *_FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            [sys.executable, "-S", "-c", _LAUNCH, str(to_browser), str(from_browser), *arguments],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._commands, self._answers = commands, answers
        self._buffer, self._count, self._events = b"", 0, []

    def open(self, path, *, width=1280, height=900, scheme="light"):
        """A page from a file, whole: its load event is over."""
        target = self.send("Target.createTarget", {"url": "about:blank"})["targetId"]
        session = self.send("Target.attachToTarget", {"targetId": target, "flatten": True})["sessionId"]
        page = Page(self, target, session)
        for domain in ("Page", "Network", "Runtime"):
            page.send(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        page.send("Emulation.setDeviceMetricsOverride", size)
        page.send("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        page.send("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
        self._events.clear()
        page.send("Page.navigate", {"url": path.as_uri()})
        self.wait_for("Page.loadEventFired", session)
        page.evaluate("new Promise((done) => setTimeout(done, 30))")
        return page

    def send(self, method, parameters=None, session=None):
        """The result of one command."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": parameters or {}}
        if session:
            message["sessionId"] = session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._count:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._events.append(answer)

    def wait_for(self, method, session):
        """Read on until an event of a page has come."""
        while not any(one.get("method") == method and one.get("sessionId") == session for one in self._events):
            self._events.append(self._read())

    def events(self, method, session):
        """What a page has told since it was opened."""
        found = [one for one in self._events if one.get("method") == method and one.get("sessionId") == session]
        return [one["params"] for one in found]

    def close(self):
        """End the process."""
        os.close(self._commands)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._answers)

    def _read(self):
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._answers], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"the browser has said nothing for {_PATIENCE_SECONDS} seconds"
            read = os.read(self._answers, 1 << 20)
            assert read, "the browser has ended"
            self._buffer += read
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)


class Page:
    """A page that is open."""

    def __init__(self, browser, target, session):
        self._browser, self._target, self._session = browser, target, session

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._browser.send("Target.closeTarget", {"targetId": self._target})

    def send(self, method, parameters=None):
        """The result of one command about this page."""
        return self._browser.send(method, parameters, self._session)

    def evaluate(self, expression):
        """The value of an expression in the page; what is promised is waited for."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": True}
        answer = self.send("Runtime.evaluate", asked)
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    def requested(self):
        """The addresses that the page has asked for, itself among them."""
        events = self._browser.events("Network.requestWillBeSent", self._session)
        return [event["request"]["url"] for event in events]

    def thrown(self):
        """What the page's own script has failed with."""
        return [
            event["exceptionDetails"]["text"]
            for event in self._browser.events("Runtime.exceptionThrown", self._session)
        ]
