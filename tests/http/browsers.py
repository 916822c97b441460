"""Browsers, headless: Chromium by its own protocol, Firefox by WebDriver BiDi. Both do what a person does, each in its own way."""
import base64
import json
import os
import pathlib
import shutil
import subprocess
import urllib.request

import pytest

from suite import end_session, free_ports, wait_for


def tool(name):
    return shutil.which(name) or pytest.fail(f"{name} is missing: scripts/install-packages.sh http")


class Browser:
    """A browser on a process of its own that takes commands in JSON over a WebSocket. A subclass sets `process` and `socket`."""
    socket = None

    def __init__(self):
        self.number = 0
        self.problems = []  # errors of the page and of its scripts

    def start(self, command, directory, output, **environment):
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                                        env={**os.environ, "HOME": str(directory), **environment})

    @staticmethod
    def connect(url, timeout):
        import websocket
        return websocket.create_connection(url, timeout=timeout, suppress_origin=True)

    def call(self, method, **parameters):
        """The result of a command; what the browser says meanwhile is noted."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while (message := json.loads(self.socket.recv())).get("id") != self.number:
            self.note(message.get("method"), message.get("params", {}))
        assert "error" not in message, message
        return message["result"]

    def close(self):
        if self.socket:
            self.socket.close()
        end_session(self.process)


class Chromium(Browser):
    name = "chromium"

    def __init__(self, directory):
        super().__init__()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                 "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
                 "--autoplay-policy=no-user-gesture-required", "--mute-audio", "--remote-debugging-port=0",
                 "--remote-allow-origins=*", f"--user-data-dir={directory}/profile"]
        self.err = open(directory / "chromium.err", "wb")
        self.start([tool("chromium"), *flags, "about:blank"], directory, self.err, TMPDIR=str(directory))
        try:
            port_file = pathlib.Path(directory, "profile", "DevToolsActivePort")
            port = wait_for(lambda: port_file.exists() and (port_file.read_text().split() or [None])[0], 60, "Chromium's start")
            pages = wait_for(lambda: [target for target in json.load(urllib.request.urlopen(
                f"http://127.0.0.1:{port}/json/list", timeout=10)) if target["type"] == "page"], 30, "Chromium's page")
            self.socket = self.connect(pages[0]["webSocketDebuggerUrl"], 60)
        except BaseException:
            self.close()
            raise
        for domain in ("Runtime", "Log", "Page", "Network", "DOM"):
            self.call(domain + ".enable")

    def note(self, event, parameters):
        if event == "Runtime.exceptionThrown" or \
                event == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "assert") or \
                event == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            self.problems.append(json.dumps(parameters)[:500])

    def run(self, script):
        """The value that the body of an asynchronous function returns."""
        result = self.call("Runtime.evaluate", expression=f"(async () => {{ {script} }})()", awaitPromise=True,
                           returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def go(self, url):
        self.call("Page.navigate", url=url)

    def size(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)

    def picture(self):
        return base64.b64decode(self.call("Page.captureScreenshot")["data"])

    def write(self, text):
        """Into what has the focus."""
        self.call("Input.insertText", text=text)

    def press(self, key):
        """A key by its name ("Escape", "ArrowRight") or by what it writes."""
        number = {"Escape": 27, "Tab": 9}.get(key, 0)  # what the browser itself does something at
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code="Space" if key == " " else key, windowsVirtualKeyCode=number,
                      **({"text": key} if len(key) == 1 and kind == "keyDown" else {}))

    def choose(self, selector, *files):
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    def drop(self, *files):
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=400, y=400,
                      data={"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1})

    def close(self):
        super().close()
        self.err.close()


class Firefox(Browser):
    name = "firefox"
    KEYS = {"Escape": "\ue00c", "Tab": "\ue004", "ArrowRight": "\ue014", "Home": "\ue011"}

    def __init__(self, directory):
        super().__init__()
        port, = free_ports(1)
        profile = directory / "profile"
        profile.mkdir()
        (profile / "user.js").write_text('user_pref("media.autoplay.default", 0);\nuser_pref("media.autoplay.blocking_policy", 0);\n'
                                         'user_pref("browser.shell.checkDefaultBrowser", false);\nuser_pref("app.update.enabled", false);\n')
        self.start([shutil.which("firefox-esr") or tool("firefox"), "--headless", "--no-remote", "--profile", profile,
                    f"--remote-debugging-port={port}", "about:blank"], directory, subprocess.DEVNULL, MOZ_HEADLESS="1")
        try:
            self.socket = wait_for(lambda: self.connect(f"ws://127.0.0.1:{port}/session", 90), 60, "Firefox's start")
            self.call("session.new", capabilities={})
            self.call("session.subscribe", events=["log.entryAdded"])
            self.page = self.call("browsingContext.getTree")["contexts"][0]["context"]
        except BaseException:
            self.close()
            raise

    def note(self, event, parameters):
        if event == "log.entryAdded" and parameters["level"] == "error":
            self.problems.append(str(parameters.get("text"))[:300])

    def run(self, script):
        result = self.call("script.evaluate", expression=f"(async () => JSON.stringify(await (async () => {{ {script} }})()))()",
                           target={"context": self.page}, awaitPromise=True, userActivation=True)
        assert result["type"] == "success", result
        value = result["result"].get("value")
        return json.loads(value) if value else None

    def go(self, url):
        self.call("browsingContext.navigate", context=self.page, url=url, wait="interactive")

    def size(self, width, height):
        self.call("browsingContext.setViewport", context=self.page, viewport={"width": width, "height": height}, devicePixelRatio=1)

    def picture(self):
        return base64.b64decode(self.call("browsingContext.captureScreenshot", context=self.page)["data"])

    def keys(self, keys):
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self.call("input.performActions", context=self.page, actions=[{"type": "key", "id": "keys", "actions": actions}])

    def write(self, text):
        """Into what has the focus."""
        self.keys(text)

    def press(self, key):
        """A key by its name ("Escape", "ArrowRight") or by what it writes."""
        self.keys([self.KEYS.get(key, key)])

    def choose(self, selector, *files):
        found = self.call("script.evaluate", expression=f"document.querySelector({json.dumps(selector)})", target={"context": self.page},
                          awaitPromise=False)["result"]
        self.call("input.setFiles", context=self.page, element={"sharedId": found["sharedId"]}, files=[str(file) for file in files])

    def drop(self, *files):
        """BiDi drops no files: they come by an input of the test's, and the events are the test's."""
        self.run("""const input = document.createElement('input');
                    Object.assign(input, {type: 'file', multiple: true, id: 'carrier'}); document.body.append(input)""")
        self.choose("#carrier", *files)
        self.run("""const input = document.getElementById('carrier'), data = new DataTransfer();
                    for (const file of input.files) data.items.add(file);
                    input.remove();
                    for (const kind of ['dragenter', 'dragover', 'drop'])
                      document.body.dispatchEvent(new DragEvent(kind, {dataTransfer: data, bubbles: true, cancelable: true}))""")
