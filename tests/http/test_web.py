"""The web page and the JSON API: who may, lists, links; each documented status of docs/openapi.json, and each answer against its schema; the page
itself through its buttons, by drag and drop and by keys: all of it in Chromium, a short visit in Firefox; with REEL_BROWSERS="chromium firefox"
(scripts/nightly.sh) all of it in both. Pictures of it stay in BUILD/pictures."""
import base64
import gzip
import hashlib
import http.client
import json
import os
import re
import socket
import subprocess
import time

import jsonschema
import pytest

import wire
from browsers import Chromium, Firefox
from identity import Keys
from relay import Pair, Relay
from suite import APP, BUILD, ROOT, USER, Suite, wait_for
from test_posters import Helper

CLIP = ROOT / "tests" / "media" / "clip.mp4"
SPEC = json.loads((ROOT / "docs" / "openapi.json").read_text())
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
EVIL = "<img src=x onerror=alert(1)>&amp;\u202e.mp4"  # a name that a careless page would run


@pytest.fixture(scope="module")
def web():
    """"httpd" wants signed links, "reads" writes nothing and gives files to everybody, "off" has no page, "lost" reaches no tracker."""
    suite = Suite("sqlite")
    posters = Helper(suite.dir)
    try:
        posters.start()
        suite.add_tracker(), suite.add_idserver(), suite.add_storage(upload_rate_min=0, quota_bytes="1G", quota_files=1000)
        suite.keys = Keys(suite.dir / "etc" / "keys").add("app", "issuer").add("weak", "issuer", "rights=ld")
        suite.keys.add("writer", "issuer", "rights=wdl").add("old", "issuer", "2020-01-01 2021-01-01").write()
        fetched = suite.dir / "fetched"
        if os.environ.get("REEL_NPM"):
            subprocess.run([ROOT / "scripts" / "fetch-web.sh", fetched], check=True, timeout=300)
        else:
            fetched.mkdir()
            (fetched / "hls.mjs").write_text("export default null;\n")
        on = {"web_folder": fetched, "write": "on", "web": "on", "access": "signed", "web_operators": f"{APP}/root", "share_max": "7d",
              "poster_socket": posters.socket}
        audit = {"file": suite.dir / "log" / "audit"}
        for label, options in (("httpd", on), ("reads", {"web": "on"}), ("off", {"write": "on"}), ("open", {"web": "on", "write": "open"}),
                               ("lost", {**on, "trackers": "127.0.0.1:1", "connect_timeout": "100ms", "call_timeout": "300ms"})):
            daemon = suite.add_httpd(label, **{"web_folder": "", **options})
            more = {"audit": audit} if label == "httpd" else {}
            daemon.configure({**daemon.config, "auth": {"keys": suite.keys.path}, **more})
        suite.launch()
        suite.wait_active(1)
        yield suite
    finally:
        posters.stop()
        suite.stop()


class Answer:
    def __init__(self, answer):
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()

    @property
    def json(self):
        return json.loads(self.body)


def token(suite, **who):
    return wire.token_text(suite.keys.token(**who))


def ask(suite, method, target, body=None, label="httpd", headers=None, signed_in=True, **who):
    """With a token for WHO; a POST to the API says that its body is JSON."""
    headers = {"Content-Type": "application/json" if method == "POST" and target.startswith("/api") else None, **(headers or {})}
    if signed_in:
        headers.setdefault("Authorization", "Bearer " + token(suite, **who))
    connection = http.client.HTTPConnection("127.0.0.1", suite.daemons[label].port, timeout=60)
    try:
        connection.request(method, target, body, {name: value for name, value in headers.items() if value is not None})
        return Answer(connection.getresponse())
    finally:
        connection.close()


def resolve(value):
    return resolve(SPEC_AT(value["$ref"])) if "$ref" in value else value


def SPEC_AT(reference):
    found = SPEC
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/")]
    return found


def operation_of(method, target):
    """(path of the document, operation), by the target's own path."""
    path = target.partition("?")[0].removeprefix("/api/v1")
    for template, item in SPEC["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in item:
            return template, item[method.lower()]
    raise AssertionError(f"{method} {target} is not in docs/openapi.json")


class Api:
    """Asks, and holds each answer to the document; SEEN are (method, path, status)."""

    def __init__(self, suite):
        self.suite, self.seen = suite, set()

    def __call__(self, method, target, **more):
        template, operation = operation_of(method, target)
        answer = ask(self.suite, method, "/api/v1" + target, **more)
        responses = operation["responses"]
        assert str(answer.status) in responses, (method, target, answer.status, answer.body)
        response = resolve(responses[str(answer.status)])
        for name, field in response.get("headers", {}).items():
            if field.get("required") or "const" in field.get("schema", {}):
                assert answer.headers[name] == field["schema"].get("const", answer.headers[name]) is not None, (target, name)
        if "content" in response:
            assert answer.headers["Content-Type"] == "application/json"
            schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "components": SPEC["components"],
                      **response["content"]["application/json"]["schema"]}
            jsonschema.Draft202012Validator(schema).validate(answer.json)
        else:
            assert answer.body == b""
        self.seen.add((method.lower(), template, str(answer.status)))
        return answer


@pytest.fixture(scope="module")
def api(web):
    return Api(web)


def test_every_documented_status_is_answered_and_every_answer_is_as_documented(web, api):
    for keyword in ("openapi", "info", "paths", "components"):
        assert keyword in SPEC
    for schema in SPEC["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    web.put("one", b"1" * 10, user="carol", name="one.txt")
    web.put("two", b"2" * 20, user="carol", name=EVIL)
    carol, of, one = {"user": "carol"}, f"/{APP}/carol", f"/files/{APP}/carol/one"
    foreign, weak = {"user": "mallory"}, {"user": "carol", "issuer": "weak", "rights": "ld"}
    two_tokens = {"Authorization": "Bearer x, Bearer y"}

    assert api("GET", "/session", **carol).json["path"] == of
    assert api("GET", "/status", user="root").json["cluster"]["groups"][0]["storages"][0]["state"] == "ACTIVE"
    assert api("GET", f"/quota{of}", **carol).json == {"files_used": 2, "bytes_used": 30, "files": 1000, "bytes": 1 << 30}
    listed = api("GET", f"/files{of}?sort=size&order=desc", **carol).json
    assert [(file["name"], file["size"]) for file in listed["files"]] == [(EVIL, 20), ("one.txt", 10)]
    assert (listed["matched"], listed["bytes"], listed["next"]) == (2, 30, None)
    assert api("GET", one, **carol).json == listed["files"][1]
    link = api("POST", one + "/link?expires=60", **carol).json
    assert ask(web, "GET", link["path"], signed_in=False).body == b"1" * 10
    assert api("DELETE", one, **carol).status == 204 and api("GET", one, **carol).json["state"] == "deleted"
    assert ask(web, "GET", link["path"], signed_in=False).status == 404
    assert api("DELETE", one, **carol).status == 410 and api("POST", one + "/link", **carol).status == 410
    assert [file["id"] for file in api("GET", f"/files{of}?state=deleted", **carol).json["files"]] == ["one"]
    assert api("POST", one + "/restore", body=b'{"ignored": 1}', **carol).status == 204 and api("GET", one, **carol).json["state"] == "stored"

    # What is written wrongly, and what is not there.
    assert api("GET", f"/files{of}?limit=0", **carol).status == 400 and api("POST", one + "/link?expires=x", **carol).status == 400
    assert api("POST", one + "/link?expires=604801", **carol).status == 400  # share_max
    assert ask(web, "GET", "/api/v1/session", headers=two_tokens).status == 401
    connection = http.client.HTTPConnection("127.0.0.1", web.daemons["httpd"].port, timeout=60)
    connection.putrequest("GET", "/api/v1/session")
    for text in ("Bearer x", "Bearer y"):
        connection.putheader("Authorization", text)
    connection.endheaders()
    assert connection.getresponse().status == 400
    api.seen.add(("get", "/session", "400"))
    for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/restore"), ("POST", "/link")):
        assert api(method, f"/files/{APP}/carol/none{rest}", **carol).status == 404
    for target in ("/files/x-y/carol", "/quota/x-y/carol"):
        assert api("GET", target, **carol).status == 404
    # Nobody, somebody whose time is over, somebody else, and somebody who may not.
    for method, target in (("GET", "/session"), ("GET", "/status"), ("GET", f"/quota{of}"), ("GET", f"/files{of}"), ("GET", one),
                           ("DELETE", one), ("POST", one + "/restore"), ("POST", one + "/link")):
        assert api(method, target, signed_in=False).status == 401
        assert api(method, target, headers={"Cookie": "reel=" + token(web, **carol)}, signed_in=False).status == 401
        assert api(method, target, issuer="old", **carol).status == 401
        assert api(method, target, seconds=-1, **carol).status == 401
        if target != "/session":
            assert api(method, target, **foreign).status == 403
    assert api("GET", one, **weak).status == 403 and api("POST", one + "/link", user="carol", issuer="weak", rights="d").status == 403
    assert api("GET", f"/files{of}", user="carol", rights="rwd").status == 403
    assert api("GET", f"/files{of}", user="carol", prefix="o").status == 403  # it would show the others
    assert api("DELETE", one, user="carol", rights="rwl").status == 403 and api("POST", one + "/restore", user="carol", rights="rwl").status == 403
    for rest in ("/restore", "/link"):
        for kind in (None, "text/plain", "application/x-www-form-urlencoded"):
            assert api("POST", one + rest, headers={"Content-Type": kind}, **carol).status == 415
    # No tracker answers.
    for method, target in (("GET", f"/quota{of}"), ("GET", f"/files{of}"), ("GET", one), ("DELETE", one), ("POST", one + "/restore"),
                           ("POST", one + "/link")):
        assert api(method, target, label="lost", **carol).status == 503
    assert api("GET", "/status", label="lost", user="root").status == 503

    documented = {(method, path, status) for path, item in SPEC["paths"].items() for method, operation in item.items()
                  if method != "parameters" for status in operation["responses"] if status != "default"}
    assert documented == api.seen
    audit = lambda: {json.loads(line).get("event") for line in (web.dir / "log" / "audit").read_text().splitlines()}
    wait_for(lambda: {"link", "delete", "restore"} <= audit(), 20, "the lines of the audit log")


def test_addresses_and_methods_that_the_api_does_not_have(web):
    assert ask(web, "GET", "/api/v1/nothing").status == 404 and ask(web, "GET", "/api").status == 404
    answer = ask(web, "PUT", f"/api/v1/files/{APP}/alice/x", b"content")
    assert (answer.status, answer.headers["Allow"], answer.json["status"]) == (405, "GET, HEAD, DELETE, OPTIONS", 405)
    assert ask(web, "POST", f"/api/v1/files/{APP}/alice", b"{}").headers["Allow"] == "GET, HEAD, OPTIONS"
    answer = ask(web, "OPTIONS", f"/api/v1/files/{APP}/alice/x/restore")
    assert (answer.status, answer.headers["Allow"]) == (204, "POST, OPTIONS")
    answer = ask(web, "HEAD", "/api/v1/session")
    assert answer.status == 200 and answer.body == b"" and int(answer.headers["Content-Length"]) > 100
    for target in ("/", "/admin", "/web/main.js", "/api/v1/session"):
        assert ask(web, "GET", target, label="off").status == 404


def test_a_list_of_any_length_comes_in_pages(web):
    names = [f"film {n * 7919 % 331:03}.mp4" for n in range(331)]
    client = wire.Client(web.daemons["storage"].address)
    for n, name in enumerate(names):
        assert client.call(wire.PUT, wire.put_head(APP, "many", f"id-{n:04}", 3, name) + b"abc").ok
    client.close()
    for sort, wanted in (("name", sorted(names)), ("id", names)):
        for order in ("asc", "desc"):
            found, after = [], ""
            while after is not None:
                answer = ask(web, "GET", f"/api/v1/files/{APP}/many?sort={sort}&order={order}&limit=100&after={after}" if after else
                             f"/api/v1/files/{APP}/many?sort={sort}&order={order}&limit=100", user="many").json
                found += [file["name"] for file in answer["files"]]
                after = answer["next"]
            assert found == (wanted if order == "asc" else wanted[::-1])
    answer = ask(web, "GET", f"/api/v1/files/{APP}/many?q=FILM%2000&sort=name", user="many").json
    assert [file["name"] for file in answer["files"]] == [f"film 00{n}.mp4" for n in range(10)] and answer["matched"] == 10
    assert ask(web, "GET", f"/api/v1/files/{APP}/nobody", user="nobody").json == {"files": [], "next": None, "matched": 0, "bytes": 0}


def test_what_a_server_does_not_do_it_does_not_offer(web):
    session = ask(web, "GET", "/api/v1/session", label="reads").json
    assert (session["writes"], session["media"], session["shares"], session["share_max"]) == (False, "", True, 0)
    web.put("plain", b"plain")
    target = f"/api/v1/files/{APP}/{USER}/plain"
    assert ask(web, "DELETE", target, label="reads").status == 403 and ask(web, "POST", target + "/restore", label="reads").status == 403
    link = ask(web, "POST", target + "/link?expires=5", label="reads").json
    assert link == {"path": f"/files/{APP}/{USER}/plain", "expires": None}
    # Without tokens: what everybody may, but not the state of everything.
    assert ask(web, "GET", f"/api/v1/files/{APP}/{USER}", label="open", signed_in=False).status == 200
    assert ask(web, "GET", "/api/v1/session", label="open", signed_in=False).json["rights"] == "rwdl"
    assert ask(web, "GET", "/api/v1/status", label="open", signed_in=False).status == 403
    assert ask(web, "POST", target + "/restore", label="open", signed_in=False, headers={"Content-Type": "text/plain"}).status == 415
    # Pictures and films are for those who may read, and end with the token.
    assert ask(web, "GET", "/api/v1/session", rights="wdl").json["media"] is None
    assert ask(web, "GET", "/api/v1/session", issuer="writer", rights="wdl").json["media"] is None
    media = ask(web, "GET", "/api/v1/session", prefix="pl").json["media"]
    assert ask(web, "GET", f"{media}/files/{APP}/{USER}/plain", signed_in=False).body == b"plain"
    web.put("else", b"else")
    assert ask(web, "GET", f"{media}/files/{APP}/{USER}/else", signed_in=False).status == 403
    ends = int(media.split(".")[1], 16)
    assert abs(ends - time.time() - 600) < 60


def test_the_page_is_small_and_lets_nothing_else_in(web):
    page = ask(web, "GET", "/", signed_in=False)
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "http" not in policy and "*" not in policy
    assert page.headers["Referrer-Policy"] == "no-referrer" and page.headers["X-Content-Type-Options"] == "nosniff"
    text = page.body.decode()
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|https?://", text)
    found, total = {"/"}, len(gzip.compress(page.body))
    waiting = ["/" + name for name in re.findall(r'(?:src|href)="(web/[^"]*)"', text)]
    while waiting:
        target = waiting.pop()
        if target in found:
            continue
        found.add(target)
        packed = ask(web, "GET", target, headers={"Accept-Encoding": "gzip"}, signed_in=False)
        assert packed.status == 200 and packed.headers["Vary"] == "Accept-Encoding"
        plain = ask(web, "GET", target, signed_in=False)
        assert gzip.decompress(packed.body) == plain.body if packed.headers["Content-Encoding"] else packed.body == plain.body
        assert ask(web, "GET", target, headers={"If-None-Match": plain.headers["ETag"]}, signed_in=False).status == 304
        assert packed.headers["ETag"] != plain.headers["ETag"] or not packed.headers["Content-Encoding"]
        total += len(packed.body)
        waiting += ["/web/" + name for name in re.findall(r'from "\./([\w.]+)"', plain.body.decode())]
        assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", plain.body.decode())
    assert len(found) > 10 and total < 100 * 1024
    print(f"first view: {total} bytes compressed")
    assert ask(web, "GET", "/web/none.js", signed_in=False).status == 404 and ask(web, "GET", "/web/a/b", signed_in=False).status == 404
    assert ask(web, "PUT", "/web/main.js", b"x").status in (404, 405) and ask(web, "DELETE", "/").status in (404, 405)


def test_what_npm_gives_is_served_where_it_was_fetched(web):
    assert ask(web, "GET", "/api/v1/session").json["hls"] is True and ask(web, "GET", "/api/v1/session", label="reads").json["hls"] is False
    answer = ask(web, "GET", "/web/hls.mjs", signed_in=False)
    assert answer.headers["Content-Type"] == "text/javascript; charset=utf-8" and b"export" in answer.body
    assert ask(web, "GET", "/web/hls.mjs", label="reads", signed_in=False).status == 404


# ---- in a browser ----

class Line(Relay):
    """A network line to PORT that can be slow, and cut."""

    def __init__(self, port):
        self.rate = -1  # bytes per second towards the server; -1: any
        super().__init__(("127.0.0.1", port), SlowUpwards)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)  # else the kernel takes megabytes at once

    def set(self, offline, rate):
        self.away, self.rate = offline, rate
        if offline:
            self.cut_all()


class SlowUpwards(Pair):
    def forward(self):
        self.carry(self.client, self.server, lambda size: time.sleep(size / self.relay.rate if self.relay.rate > 0 else 0))


class Page:
    """What a person does with the page in one browser. Each has users of its own."""

    def __init__(self, suite, browser):
        self.suite, self.browser = suite, browser
        self.line = Line(suite.daemons["httpd"].port) if browser.name == "firefox" else None  # Chromium can cut its network by itself
        self.base = f"http://127.0.0.1:{self.line.port if self.line else suite.daemons['httpd'].port}"
        self.pictures = BUILD / "pictures"
        self.pictures.mkdir(exist_ok=True)
        self.seen, self.pressed = set(), set()  # buttons, in English
        self.size(1280, 800)

    def close(self):
        self.browser.close()
        if self.line:
            self.line.close()

    def user(self, name):
        return name if self.browser.name == "chromium" else f"{name}-{self.browser.name}"

    def size(self, width, height):
        self.browser.size(width, height)

    def picture(self, name):
        (self.pictures / f"web-{self.browser.name}-{name}.png").write_bytes(self.browser.picture())

    def pictures_of(self, name):
        """At the widths of a desk and of a phone, where nothing stands out."""
        for width, height, device in ((390, 844, "phone"), (1280, 800, "desktop")):
            self.size(width, height)
            self.until(f"innerWidth === {width} && document.documentElement.scrollWidth <= innerWidth", f"a page that fits {width} pixels")
            self.picture(f"{name}-{device}")

    def go(self, rest="/", user=None):
        self.browser.go("about:blank")
        self.browser.go(self.base + rest + ("#token=" + token(self.suite, user=self.user(user)) if user else ""))

    def value(self, expression):
        return self.browser.run(f"return {expression}")

    def until(self, expression, what=None):
        script = f"const value = {expression}; return value instanceof Node ? true : value"
        return wait_for(lambda: self.browser.run(script), 20, what or expression)

    def click(self, label, within="document"):
        """The button or link that a screen reader calls LABEL, once it is there."""
        script = f"""[...{within}.querySelectorAll('button, a, label.button')].find(e =>
            (e.getAttribute('aria-label') || e.textContent).trim() === {json.dumps(label)} && !e.disabled && e.offsetParent !== null)"""
        self.until(f"!!({script})", f"a button {label}")
        self.look()
        self.browser.run(f"const e = {script}; e.scrollIntoView({{block: 'center'}}); e.focus(); e.click()")
        self.pressed.add(self.kind(label))

    def look(self):
        """Notes the buttons that there are."""
        labels = self.browser.run("""return document.documentElement.lang !== 'en' ? [] : [...document.querySelectorAll('button, a, label.button')]
            .filter(e => !e.disabled).map(e => (e.getAttribute('aria-label') || e.textContent).trim())""")
        self.seen |= {self.kind(label) for label in labels}

    @staticmethod
    def kind(label):
        """A button without the name of its file."""
        return re.sub(r"^(Play|Show) .*", r"\1", label.split(": ")[0], flags=re.S)

    def choose_from(self, selector, value):
        self.browser.run(f"const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)}; e.dispatchEvent(new Event('change'))")

    def type(self, selector, text):
        self.browser.run(f"const e = document.querySelector({json.dumps(selector)}); e.focus(); e.select?.()")
        self.browser.write(text)

    def key(self, key):
        self.browser.press(key)

    def choose(self, *files):
        self.browser.choose("#choose", *files)
        self.pressed.add("Upload")  # which opens the browser's own dialog

    def titles(self):
        return self.value("[...document.querySelectorAll('.files .title')].map(e => e.textContent)")

    def says(self, text):
        self.until(f"document.getElementById('says').textContent.includes({json.dumps(text)})")

    def network(self, offline=False, upload=-1):
        if self.line:
            self.line.set(offline, upload)
        else:
            self.browser.call("Network.emulateNetworkConditions", offline=offline, latency=0, downloadThroughput=-1, uploadThroughput=upload)


BROWSERS = {"chromium": Chromium, "firefox": Firefox}


@pytest.fixture(scope="module", params=os.environ.get("REEL_BROWSERS", "chromium").split())
def page(request, web, tmp_path_factory):
    page = Page(web, BROWSERS[request.param](tmp_path_factory.mktemp("page")))
    yield page
    page.close()


def visit(page):
    """A short one: signs in by a link, uploads, looks at the list at both widths, plays."""
    user = page.user("visitor")
    page.go("/", user="visitor")
    page.until(f"document.querySelector('.who')?.textContent === {json.dumps(user)} && location.hash === ''")
    page.until("document.querySelector('#choose')")
    page.choose(CLIP)
    page.until("document.querySelector('.upload-state')?.textContent === 'done'")
    page.until("document.querySelectorAll('.files li').length === 1")
    page.click(f"Dismiss: {CLIP.name}")
    page.pictures_of("visit")
    page.click(f"Play {CLIP.name}")
    page.until("document.querySelector('dialog video')?.currentTime > 0.2", "the film playing")
    page.picture("visit-player")
    page.key("Escape")
    page.until("!document.querySelector('dialog')")
    assert page.browser.problems == []


@pytest.mark.skipif("firefox" in os.environ.get("REEL_BROWSERS", ""), reason="Firefox goes through all of it")
def test_a_visit_with_firefox(web, tmp_path):
    page = Page(web, Firefox(tmp_path))
    try:
        visit(page)
    finally:
        page.close()


def test_signing_in_and_out_in_both_languages(web, page):
    page.go("/")
    page.until("document.querySelector('#token')")
    page.pictures_of("sign-in")
    page.type("#token", "nonsense")
    page.click("Sign in")
    page.until("document.querySelector('[role=alert]').textContent.includes('not valid')")
    page.browser.run("document.querySelector('#token').value = ''")
    page.type("#token", page.base + "/#token=" + token(web, user=page.user("dora")))
    page.click("Sign in")
    page.until("document.querySelector('h1').textContent === 'Files'")
    assert "There are no files yet" in page.until("document.querySelector('.sum').textContent")
    assert page.value("sessionStorage.getItem('reel-token') !== null && localStorage.getItem('reel-token') === null")
    page.choose_from("header select", "zh")
    page.until("document.querySelector('h1').textContent === '文件' && document.documentElement.lang === 'zh-CN'")
    page.until("document.querySelector('.sum').textContent === '还没有文件。'")
    page.click("回收站")
    page.until("document.querySelector('.sum').textContent === '回收站是空的。'")
    page.picture("chinese")
    page.choose_from("header select", "en")
    page.click("Sign out")
    page.until("document.querySelector('#token')")
    assert page.value("sessionStorage.getItem('reel-token')") is None
    # On this device: a later visit is signed in. After signing out it is not.
    page.browser.run("document.querySelector('.check input').click()")
    page.type("#token", token(web, user=page.user("dora")))
    page.click("Sign in")
    page.until("document.querySelector('.who')")
    assert page.value("sessionStorage.getItem('reel-token') === null && localStorage.getItem('reel-token') !== null")
    page.go("/")
    page.until("document.querySelector('.who')")
    page.click("Sign out")
    page.until("document.querySelector('#token')")
    assert page.value("localStorage.getItem('reel-token')") is None
    # A link signs in, and the address does not keep its token.
    page.go("/", user="dora")
    page.until(f"document.querySelector('.who')?.textContent === {json.dumps(page.user('dora'))} && location.hash === ''")


def test_uploading_by_button_and_by_drop_with_pause_cut_and_another_visit(web, page, tmp_path):
    film, large, other = tmp_path / "film.mp4", tmp_path / "large.bin", tmp_path / "other.bin"
    film.write_bytes(CLIP.read_bytes())
    (tmp_path / "film.en.srt").write_text("1\n00:00:00,000 --> 00:00:20,000\nHello <b>there</b>\n")
    large.write_bytes(hashlib.shake_128(b"large").digest(6_000_000))
    other.write_bytes(hashlib.shake_128(b"other").digest(6_000_000))
    alice, state = page.user("alice"), "document.querySelector('.upload-state')"
    page.go("/", user="alice")
    page.until("document.querySelector('#choose')")
    page.choose(film, tmp_path / "film.en.srt")
    page.until("[...document.querySelectorAll('.upload-state')].filter(e => e.textContent === 'done').length === 2")
    page.until("[...document.querySelectorAll('.files .title')].map(e => e.textContent).includes('film.mp4')")
    page.click("Dismiss: film.mp4"), page.click("Dismiss: film.en.srt")
    # A large one, dropped onto the page; slowly, so that there is time for what follows.
    page.network(upload=300_000)
    page.browser.drop(large)
    page.until("document.querySelector('.uploads progress')?.value > 500000", "a part of the upload")
    page.pictures_of("uploading")
    page.click("Pause: large.bin")
    page.until(f"{state}.textContent.startsWith('paused')")
    page.click("Resume: large.bin")
    page.until(f"/ of /.test({state}.textContent)")
    page.network(offline=True)
    page.until(f"{state}.textContent.includes('trying again')")
    cut_at = page.value("document.querySelector('.uploads progress').value")
    page.network(upload=300_000)
    page.until(f"/ of /.test({state}.textContent)", "going on after the network came back")
    # The bar stands where it was until the server has said how much it has.
    page.until(f"document.querySelector('.uploads progress')?.value !== {cut_at}", "a word of the server, or bytes on their way")
    page.until("document.querySelector('.uploads progress')?.value > 500000", "a part of the upload, again")
    page.click("Pause: large.bin")
    at = int(re.search(r"\d+", page.until(f"/^paused at/.test({state}.textContent) && {state}.textContent"))[0])
    assert 5 < at < 100
    # While another tab has it, this one leaves it alone.
    key = page.value("Object.keys(localStorage).find(key => key.startsWith('reel-upload:'))")
    page.browser.run(f"navigator.locks.request({json.dumps(key)}, () => new Promise(done => {{ window.release = done; }}))")
    page.until("window.release !== undefined")
    page.click("Resume: large.bin")
    page.until(f"{state}.textContent.includes('another tab')")
    page.browser.run("window.release()")
    page.click("Resume: large.bin")
    page.until(f"/ of /.test({state}.textContent)")
    page.click("Pause: large.bin")
    page.until(f"{state}.textContent.startsWith('paused')")
    # One that is given up leaves nothing.
    page.browser.drop(other)
    page.until("[...document.querySelectorAll('.uploads progress')].some(e => e.getAttribute('aria-label') === 'other.bin' && e.value > 100000)")
    page.click("Cancel: other.bin")
    page.until("document.querySelectorAll('.uploads progress').length === 1")
    left = lambda: web.sql("storagedb", f"SELECT count(*) FROM t_partial WHERE userid = '{alice}' AND state IN (0, 1);")[0][0]
    wait_for(lambda: left() == "1", 20, "the other one is gone")
    # The tab is closed; the next visit knows what is unfinished, and sends no more than what is left.
    page.network()
    page.browser.problems.clear()  # the network was cut, and the browser says so
    page.go("/", user="alice")
    page.until("document.querySelector('.uploads li')?.textContent.includes('unfinished')")
    before = web.daemons["httpd"].metric("reel_httpd_received_bytes_total")
    page.choose(large)
    page.until("document.querySelector('.upload-state')?.textContent === 'done'")
    sent = web.daemons["httpd"].metric("reel_httpd_received_bytes_total") - before
    assert sent < 6_000_000
    page.until("[...document.querySelectorAll('.files .title')].map(e => e.textContent).includes('large.bin')")
    listed = ask(web, "GET", f"/api/v1/files/{APP}/{alice}?q=large", user=alice).json["files"]
    media = ask(web, "GET", "/api/v1/session", user=alice).json["media"]
    assert ask(web, "GET", f"{media}/files{listed[0]['path']}", signed_in=False).body == large.read_bytes()
    assert "uploaded" in page.value("document.getElementById('says').textContent")  # and no complaint behind it
    assert page.value("Object.keys(localStorage).filter(key => key.startsWith('reel-upload:')).length") == 0
    # What is unfinished can be discarded on another visit.
    page.network(upload=300_000)
    page.choose(other)
    page.until("[...document.querySelectorAll('.uploads progress')].some(e => e.getAttribute('aria-label') === 'other.bin' && e.value > 100000)")
    page.click("Pause: other.bin")
    page.network()
    page.go("/", user="alice")
    page.click("Discard: other.bin")
    page.until("document.querySelector('.uploads').hidden")
    wait_for(lambda: left() == "0", 20, "the other one is gone")
    assert page.browser.problems == []


def test_playing_with_subtitles_speed_and_keys(web, page):
    web.put("picture", PIXEL, user=page.user("alice"), name="pixel.png", content_type="image/png")
    page.go("/", user="alice")
    page.until("document.querySelector('.duration')?.textContent || [...document.querySelectorAll('.duration')].some(e => e.textContent)",
               "the film's duration")
    page.until("document.querySelector('.poster.video img')?.naturalWidth > 0", "its poster")
    page.click("Play film.mp4")
    page.until("document.querySelector('dialog video')?.currentTime > 0.2", "the film playing")
    page.until("document.querySelector('dialog track')", "its subtitles")
    page.look()
    page.pictures_of("player")
    page.key("c")
    page.until("document.querySelector('dialog video').textTracks[0].mode === 'showing'")
    page.until("document.querySelector('dialog video').textTracks[0].cues?.[0]?.text.includes('Hello')")
    page.key(">")
    page.until("document.querySelector('dialog video').playbackRate === 1.25")
    page.choose_from("dialog select", "2")
    page.until("document.querySelector('dialog video').playbackRate === 2")
    page.key("m")
    page.until("document.querySelector('dialog video').muted")
    page.key("Home")
    page.key(" ")
    page.until("document.querySelector('dialog video').paused")
    at = page.value("document.querySelector('dialog video').currentTime")
    page.key("ArrowRight")
    page.until(f"document.querySelector('dialog video').currentTime > {at}")
    page.key("Escape")
    page.until("!document.querySelector('dialog')")
    assert page.value("document.activeElement.getAttribute('aria-label')") == "Play film.mp4"  # where the focus was
    page.click("Show pixel.png")
    page.until("document.querySelector('dialog img')?.naturalWidth > 0", "the picture")
    page.click("Close", "document.querySelector('dialog')")
    page.until("!document.querySelector('dialog')")


@pytest.mark.skipif(not os.environ.get("REEL_NPM"), reason="REEL_NPM is not set: hls.js from npm is for the night")
def test_a_film_that_no_browser_knows_plays_by_hls(web, page, tmp_path):
    """An MPEG transport stream: by hls.js in Firefox, which is not asked for before; by Chromium's own HLS."""
    film = tmp_path / "air.ts"
    subprocess.run(["ffmpeg", "-v", "error", "-i", CLIP, "-c", "copy", film], check=True, timeout=60)
    web.put("air", film.read_bytes(), user=page.user("hugo"), name="air.ts", content_type="video/mp2t")
    page.browser.problems.clear()
    page.go("/", user="hugo")
    asked = "performance.getEntriesByType('resource').some(e => e.name.endsWith('/web/hls.mjs'))"
    page.until("document.querySelectorAll('.files li').length === 1")
    assert page.value(asked) is False
    page.click("Play air.ts")
    page.until("document.querySelector('dialog video')?.currentTime > 0.5", "the film playing")
    page.picture("player-hls")
    assert page.value(asked) is (page.browser.name == "firefox")
    page.browser.run("document.querySelector('dialog video').currentTime = 8")
    page.until("document.querySelector('dialog video').currentTime > 8.3", "playing on after a seek")
    page.click("Close", "document.querySelector('dialog')")
    page.until("!document.querySelector('dialog')")
    assert page.browser.problems == []


def test_sharing_deleting_restoring_searching_and_pages(web, page):
    erin = page.user("erin")
    web.put("evil", CLIP.read_bytes(), user=erin, name=EVIL, content_type="video/mp4")
    for n in range(40):
        web.put(f"note-{n:02}", b"n" * n, user=erin, name=f"note {n:02}.txt")
    page.go("/", user="erin")
    page.until("document.querySelector('.sum').textContent.startsWith('41 files')")
    page.until("document.querySelector('meter')?.value > 300000 && document.querySelector('meter').max === 2 ** 30", "the quota")
    page.browser.run("const e = document.querySelector('.toolbar select'); e.selectedIndex = 2; e.dispatchEvent(new Event('change'))")
    page.until("document.querySelector('.files .title').textContent.startsWith('<img')")
    assert page.titles()[0] == EVIL.replace("\u202e", "\ufffd") and page.value("document.querySelectorAll('.title img').length") == 0
    page.pictures_of("list")
    page.click("Next")
    page.until("document.querySelector('.pager span').textContent === 'Page 2' && document.querySelectorAll('.files li').length === 17")
    page.click("Previous")
    page.until("document.querySelector('.pager span').textContent === 'Page 1'")
    page.type("input[type=search]", "note 07")
    page.until("document.querySelectorAll('.files li').length === 1")
    page.click("Share: note 07.txt")
    page.click("Create link")
    link = page.until("document.querySelector('dialog input[readonly]')?.value")
    page.click("Copy", "document.querySelector('dialog')")
    page.says("copied")
    page.pictures_of("share")
    assert ask(web, "GET", link.removeprefix(page.base), signed_in=False).body == b"n" * 7
    page.click("Close")
    page.click("Delete: note 07.txt")
    page.picture("delete")
    page.click("Cancel", "document.querySelector('dialog')")
    page.until("!document.querySelector('dialog') && document.querySelectorAll('.files li').length === 1")
    page.click("Delete: note 07.txt")
    page.click("Delete", "document.querySelector('dialog')")
    page.says("is in the trash")
    page.until("document.querySelector('.sum').textContent.includes('note 07')")
    page.click("Trash")
    page.until("document.querySelector('h1').textContent === 'Trash' && document.querySelectorAll('.files li').length === 1")
    page.pictures_of("trash")
    page.click("Restore: note 07.txt")
    page.says("is restored")
    page.until("document.querySelectorAll('.files li').length === 0")
    page.click("Files")
    page.until("document.querySelector('.sum').textContent.startsWith('41 files')")
    # What a screen reader finds has a name; the list is reached by keys alone.
    if page.browser.name == "chromium":
        tree = page.browser.call("Accessibility.getFullAXTree")["nodes"]
        named = [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node.get("ignored")
                 and node.get("role", {}).get("value") in ("button", "link", "textbox", "searchbox", "combobox", "navigation", "list", "progressbar")]
        assert len(named) > 60 and [entry for entry in named if entry[0] != "list" and not entry[1].strip()] == []
    page.browser.run("document.activeElement.blur()")
    page.key("Tab")
    page.until("document.activeElement.textContent === 'Skip to the list'")
    page.click("Skip to the list")
    page.until("document.activeElement.id === 'list'")
    # The downloads lead to the files, as attachments.
    target = page.value("[...document.querySelectorAll('.actions a')].map(e => e.getAttribute('href'))")[1]
    assert ask(web, "GET", target, signed_in=False).headers["Content-Disposition"].startswith("attachment")
    page.click(page.value("[...document.querySelectorAll('.actions a')].map(e => e.getAttribute('aria-label'))")[1])
    page.until("document.querySelector('.sum').textContent.startsWith('41 files')")  # the page stays


def test_operators_see_the_installation_and_others_do_not(web, page):
    page.browser.problems.clear()
    operator = token(web, user="root")
    page.browser.go("about:blank")
    page.browser.go(page.base + "/#token=" + operator)
    page.click("Operators")
    page.until("document.querySelector('.admin table tbody tr')?.textContent.includes('ACTIVE')")
    page.until("[...document.querySelectorAll('.tile dt')].some(e => e.textContent === 'Uploads per second')")
    page.until("[...document.querySelectorAll('.admin th')].some(e => e.textContent === 'Damaged files')")
    page.pictures_of("admin")
    assert page.browser.problems == []
    page.go("/admin", user="alice")
    page.until("document.querySelector('.admin .hint')?.textContent.includes('web_operators')")
    assert page.value("[...document.querySelectorAll('nav a')].map(e => e.textContent)") == ["Files", "Trash"]


def test_a_session_that_ends_asks_again(web, page):
    page.go("/", user="alice")
    page.until("document.querySelectorAll('.files li').length > 0")
    web.keys.remove("app").write()
    web.daemons["httpd"].hup()
    wait_for(lambda: ask(web, "GET", "/api/v1/session").status == 401, 20, "the key being gone")
    page.click("Trash")
    page.until("document.querySelector('[role=alert]')?.textContent.includes('session has ended')")
    assert page.value("sessionStorage.getItem('reel-token')") is None
    web.keys.add("app", "issuer").write()
    web.daemons["httpd"].hup()
    wait_for(lambda: ask(web, "GET", "/api/v1/session").status == 200, 20, "another key")
    page.type("#token", token(web, user=page.user("alice")))
    page.click("Sign in")
    page.until("document.querySelector('h1').textContent === 'Trash'")


def test_no_button_was_left_out(page):
    """Behind the tests above, which are of one run."""
    if len(page.pressed) < 15:
        pytest.skip("not all tests of the page have run")
    assert page.seen - page.pressed == set()
