"""The web page and the JSON API: lists, restoring, links and who may; every answer against docs/openapi.json; and the page itself in a browser,
through its buttons."""
import gzip
import http.client
import json
import re
import time
import urllib.parse

import pytest

import wire
from identity import Keys
from suite import APP, ROOT, USER, Suite, wait_for

CLIP = ROOT / "tests" / "media" / "clip.mp4"


@pytest.fixture(scope="module")
def web():
    """"httpd" asks for signed links, "reads" writes nothing and gives files to everybody, "off" has no page."""
    suite = Suite("sqlite")
    try:
        suite.add_tracker(), suite.add_idserver(), suite.add_storage(upload_rate_min=0)
        suite.keys = Keys(suite.dir / "etc" / "keys").add("app", "issuer").add("reader", "issuer", "rights=wdl").add("old", "issuer", "2020-01-01 2021-01-01").write()
        for label, options in (("httpd", {"write": "on", "web": "on", "access": "signed", "web_operators": f"{APP}/root", "share_max": "7d"}),
                               ("reads", {"web": "on"}), ("off", {"write": "on"})):
            daemon = suite.add_httpd(label, **options)
            daemon.configure({**daemon.config, "auth": {"keys": suite.keys.path}})
        suite.launch()
        suite.wait_active(1)
        yield suite
    finally:
        suite.stop()


class Answer:
    def __init__(self, answer):
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()

    @property
    def json(self):
        return json.loads(self.body)


def ask(suite, method, target, body=None, label="httpd", headers=None, **who):
    headers = dict(headers or {})
    if "token" not in who or who["token"]:
        headers.setdefault("Authorization", "Bearer " + (who.get("token") or wire.token_text(suite.keys.token(**who))))
    if method == "POST" and target.startswith("/api"):
        headers.setdefault("Content-Type", "application/json")
    connection = http.client.HTTPConnection("127.0.0.1", suite.daemons[label].port, timeout=60)
    try:
        connection.request(method, target, body, {name: value for name, value in headers.items() if value is not None})
        return Answer(connection.getresponse())
    finally:
        connection.close()
