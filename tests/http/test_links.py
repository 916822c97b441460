"""Signed links: who gets a file, in which form, until when, and what caches and logs get to know."""
import http.client
import json
import subprocess
import threading
import time

import pytest

import links
import wire
from suite import APP, BIN, USER, Suite, wait_for
from web import fetch, raw

SECRET = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="  # 0, 1, ..., 31
SIGNER = links.Signer("app-a", bytes(range(32)))
CONTENT = b"0123456789" * 1000
KEYS = f"app-a issuer {SECRET}\n"
ID, SEGMENT, OTHER = "6748f1c0aaaa-film", "6748f1c0aaaa-part", "6748f1c0bbbb-film"


def in_(seconds):
    return int(time.time()) + seconds


def write_keys(suite, text):
    file = suite.dir / "etc" / "keys"
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def signed():
    """"httpd" gives files to signed links only and trusts the client that 127.0.0.1 names; "public" lets caches keep them."""
    suite = Suite("sqlite")
    try:
        suite.add_tracker(), suite.add_idserver(), suite.add_storage()
        auth = {"auth": {"keys": write_keys(suite, KEYS)}}
        plain = {"access": "signed", "trusted_proxies": "127.0.0.1", "cors_origins": "*", "access_log_format": "json"}
        for label, more in (("httpd", {}), ("public", {"signed_cache": "public"})):
            daemon = suite.add_httpd(label, **plain, **more, access_log=suite.dir / "log" / f"{label}.access")
            daemon.configure({**daemon.config, **auth})
        suite.launch()
        for file in (ID, SEGMENT, OTHER):
            suite.put(file, CONTENT, name="film.txt", content_type="text/plain")
        suite.put("playlist", b"#EXTM3U\n#EXTINF:4,\n../playlist-0/a.ts\n", name="film.m3u8")
        suite.put("playlist-0", CONTENT, content_type="video/mp2t")
        yield suite
    finally:
        suite.stop()


def status(suite, target, method="GET", **headers):
    return fetch(suite, target, method, **headers)[0].status


def test_a_signed_link_gives_the_file_in_each_form(signed):
    until = in_(600)
    for target in (SIGNER.query(APP, USER, ID, until), SIGNER.query(APP, USER, ID, until) + "&download=x",
                   SIGNER.prefixed(APP, USER, ID, until), SIGNER.prefixed(APP, USER, ID, until) + "/any-name.txt",
                   SIGNER.prefixed(APP, USER, ID, until, "p12"), SIGNER.prefixed(APP, USER, ID, until, "u")):
        answer, body = fetch(signed, target)
        assert (answer.status, body) == (200, CONTENT), target
    answer, body = fetch(signed, links.Signer.path(APP, USER, ID), Cookie="a=b; reel=" + SIGNER.token(APP, USER, ID, until, "u"))
    assert (answer.status, body) == (200, CONTENT)


def test_the_short_address_is_signed_as_the_long_one(signed):
    e, k, s = SIGNER.parts(APP, USER, ID, in_(600))
    assert status(signed, f"/files/{ID}?e={e}&k={k}&s={s}") == 200
    assert status(signed, f"/t/{SIGNER.token(APP, USER, ID, in_(600))}/files/{ID}") == 200


def test_nobody_gets_a_file_without_a_link_or_learns_that_it_is_there(signed):
    for file in (ID, "none"):
        answer, body = fetch(signed, links.Signer.path(APP, USER, file))
        assert answer.status == 403 and b"signed link" in body and answer.headers["Cache-Control"] == "no-store"
        assert status(signed, links.Signer.path(APP, USER, file), "HEAD") == 403
    assert status(signed, SIGNER.query(APP, USER, "none", in_(600))) == 404


@pytest.mark.parametrize("change,code", [
    (lambda e, k, s: f"e={e}&k={k}&s={s[:-1]}", 400), (lambda e, k, s: f"e={e}&k={k}&s=", 400),
    (lambda e, k, s: f"e=&k={k}&s={s}", 400), (lambda e, k, s: f"e={e}&k=&s={s}", 400),
    (lambda e, k, s: f"e={e}&k={k}", 400), (lambda e, k, s: f"k={k}&s={s}", 400), (lambda e, k, s: f"s={s}", 400),
    (lambda e, k, s: f"k={k}&e={e}&s={s}", 400), (lambda e, k, s: f"e={e}&s={s}&k={k}", 400),
    (lambda e, k, s: f"e={e}&k={k}&s={s}&s={s}", 400), (lambda e, k, s: f"e={e}&e={e}&k={k}&s={s}", 400),
    (lambda e, k, s: f"e={e}&x=y&k={k}&s={s}", 400), (lambda e, k, s: f"e={e.upper()}Z&k={k}&s={s}", 400),
    (lambda e, k, s: f"e={int(e, 16) + 1:x}&k={k}&s={s}", 403), (lambda e, k, s: f"e={e}&k=app-b&s={s}", 403),
    (lambda e, k, s: f"e={e}&k={k}&s={'A' * 22}", 403), (lambda e, k, s: f"e={e}n&k={k}&s={s}", 403),
    (lambda e, k, s: f"E={e}&K={k}&S={s}", 403),
])
def test_a_link_that_is_written_wrongly_is_refused(signed, change, code):
    parts = SIGNER.parts(APP, USER, ID, in_(600))
    assert status(signed, f"{links.Signer.path(APP, USER, ID)}?{change(*parts)}") == code


def test_one_request_carries_one_link(signed):
    until, path = in_(600), links.Signer.path(APP, USER, ID)
    query, token = SIGNER.query(APP, USER, ID, until), SIGNER.token(APP, USER, ID, until)
    assert status(signed, query, Cookie=f"reel={token}") == 400
    assert status(signed, f"/t/{token}{query}") == 400
    assert status(signed, f"/t/{token}{path}", Cookie=f"reel={token}") == 400
    assert status(signed, path, Cookie=f"reel={token}; reel={token}") == 400
    assert status(signed, f"/t/{token}/t/{token}{path}") == 404
    assert status(signed, f"/t/broken{path}") in (400, 404)


def test_a_link_opens_its_scope_alone(signed):
    until = in_(600)
    other = lambda scope, file, user=USER: (
        f"/t/{SIGNER.token(APP, USER, ID, until, scope)}{links.Signer.path(APP, user, file)}")
    assert [status(signed, other("f", file)) for file in (ID, SEGMENT, OTHER)] == [200, 403, 403]
    assert [status(signed, other("p12", file)) for file in (ID, SEGMENT, OTHER)] == [200, 200, 403]
    assert [status(signed, other("u", file)) for file in (ID, SEGMENT, OTHER)] == [200, 200, 200]
    assert status(signed, other("u", ID, user="bob")) == 403


def test_relative_links_of_a_playlist_inherit_the_link(signed):
    address = SIGNER.prefixed(APP, USER, "playlist", in_(600), "p8")
    answer, body = fetch(signed, address + "/film.m3u8")
    assert answer.status == 200
    segment = next(line for line in body.decode().splitlines() if not line.startswith("#"))
    target = links.urllib.parse.urljoin("http://h" + address + "/film.m3u8", segment).removeprefix("http://h")
    answer, body = fetch(signed, target)
    assert (answer.status, body) == (200, CONTENT)


def test_an_expired_link_is_refused_after_half_a_minute_of_grace(signed):
    assert status(signed, SIGNER.query(APP, USER, ID, in_(-20))) == 200
    answer, body = fetch(signed, SIGNER.query(APP, USER, ID, in_(-31)))
    assert answer.status == 403 and b"expired" in body


def ask_on(connection, target, **headers):
    """The status. On one connection, and so by one loop, which remembers what it was shown."""
    connection.request("GET", target, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    body = answer.read()
    assert answer.status != 200 or body == CONTENT
    return answer.status


def test_a_remembered_address_is_still_one_link_of_its_network_and_of_its_time(signed):
    connection = http.client.HTTPConnection("127.0.0.1", signed.httpd.port, timeout=30)
    until = in_(600)
    token = SIGNER.token(APP, USER, ID, until)
    for target in (SIGNER.query(APP, USER, ID, until), SIGNER.prefixed(APP, USER, ID, until)):
        assert [ask_on(connection, target) for _ in range(3)] == [200] * 3
        assert ask_on(connection, target, Cookie=f"reel={token}") == 400
        assert ask_on(connection, target, Cookie="other=1") == 200
        assert ask_on(connection, target + "&s=x" if "?" in target else target.replace(ID, OTHER)) in (400, 403)
        assert ask_on(connection, target) == 200
    near = SIGNER.query(APP, USER, ID, until, client="192.0.2.1")
    assert [ask_on(connection, near, X_Forwarded_For="192.0.2.7") for _ in range(3)] == [200] * 3
    assert ask_on(connection, near, X_Forwarded_For="198.51.100.7") == 403
    late = in_(-27)
    ending = SIGNER.query(APP, USER, ID, late)
    wait_for(lambda: ask_on(connection, ending) == 403, 20, "the end of a link that was remembered")
    assert in_(0) >= late + 30
    assert ask_on(connection, SIGNER.query(APP, USER, ID, until)) == 200
    connection.close()


def test_a_remembered_address_is_answered_by_its_method(signed):
    connection = http.client.HTTPConnection("127.0.0.1", signed.httpd.port, timeout=30)
    target = SIGNER.query(APP, USER, ID, in_(600))
    assert [ask_on(connection, target) for _ in range(2)] == [200] * 2
    for method, expected, size in (("HEAD", 200, 0), ("OPTIONS", 204, 0), ("DELETE", 405, None), ("PUT", 405, None), ("GET", 200, 10000)):
        connection.request(method, target)
        answer = connection.getresponse()
        body = answer.read()
        assert (answer.status, len(body) if size is not None else None) == (expected, size), method
        if expected == 200:
            assert answer.headers["Cache-Control"] == "private, max-age=5"
    connection.request("GET", target, headers={"Range": "bytes=10-19"})
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (206, b"0123456789")
    connection.close()


def test_an_address_remembered_from_a_trusted_proxy_is_redirected_without_it(own_suite):
    suite = own_suite
    suite.add_tracker(), suite.add_idserver(), suite.add_storage()
    daemon = suite.add_httpd(access="signed", redirect_https=443, trusted_proxies="127.0.0.9")
    daemon.configure({**daemon.config, "daemon": {"loops": 1}, "auth": {"keys": write_keys(suite, KEYS)}})
    suite.launch()
    suite.put(ID, CONTENT)
    target = SIGNER.query(APP, USER, ID, in_(600))
    near = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30, source_address=("127.0.0.9", 0))
    far = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    assert [ask_on(near, target, X_Forwarded_Proto="https") for _ in range(2)] == [200] * 2
    assert ask_on(far, target) == 308
    assert ask_on(near, target, X_Forwarded_Proto="https") == 200
    near.close(), far.close()


def test_a_short_address_that_was_remembered_is_not_good_for_another_user(own_suite):
    suite = own_suite
    suite.add_tracker(), suite.add_idserver(), suite.add_storage()
    daemon = suite.add_httpd(access="signed", keepalive_requests="0")
    config = {**daemon.config, "auth": {"keys": write_keys(suite, KEYS)}}
    daemon.configure(config)
    suite.launch()
    suite.put(ID, CONTENT)
    e, k, s = SIGNER.parts(APP, USER, ID, in_(600))
    target = f"/files/{ID}?e={e}&k={k}&s={s}"
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
    assert [ask_on(connection, target) for _ in range(3)] == [200] * 3
    daemon.configure({**config, "httpd": {**config["httpd"], "user": "bob"}})
    daemon.hup()
    seen = []
    wait_for(lambda: seen.append(ask_on(connection, target)) or seen[-1] != 200, 20, "the reload")
    assert seen[-1] == 403
    connection.close()


def test_a_link_ends_at_the_next_request_and_not_inside_an_answer(own_suite):
    """A slow reader of 40 MB begins seconds before the end of the grace."""
    suite = own_suite
    suite.add_tracker(), suite.add_idserver(), suite.add_storage()
    daemon = suite.add_httpd(access="signed")
    daemon.configure({**daemon.config, "auth": {"keys": write_keys(suite, KEYS)}})
    suite.launch()
    content = bytes(40_000_000)
    suite.put("long", content)
    connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=60)
    for late in (-27, -20, -10):  # a machine that holds the test for seconds needs an earlier link
        target = SIGNER.query(APP, USER, "long", in_(late))
        connection.request("GET", target)
        answer = connection.getresponse()
        if answer.status == 200:
            break
        answer.read()
    assert answer.status == 200
    taken = len(answer.read(1000))
    wait_for(lambda: status(suite, target) == 403, what="the link's end")
    while part := answer.read(1 << 20):
        taken += len(part)
    assert taken == len(content)
    connection.request("GET", target)
    assert connection.getresponse().status == 403


def test_head_ranges_conditions_and_preflights(signed):
    target = SIGNER.query(APP, USER, ID, in_(600))
    answer, body = fetch(signed, target, "HEAD")
    assert (answer.status, body, answer.headers["Content-Length"]) == (200, b"", "10000")
    answer, body = fetch(signed, target, Range="bytes=10-19")
    assert (answer.status, body) == (206, b"0123456789")
    etag = answer.headers["ETag"]
    answer, _ = fetch(signed, target, If_None_Match=etag)
    assert answer.status == 304 and answer.headers["Cache-Control"].startswith("private")
    answer, _ = fetch(signed, links.Signer.path(APP, USER, ID), "OPTIONS", Origin="https://tv.example",
                      Access_Control_Request_Method="GET")
    assert answer.status == 204 and answer.headers["Access-Control-Allow-Origin"] == "*"
    answer, _ = fetch(signed, links.Signer.path(APP, USER, ID), Origin="https://tv.example")
    assert answer.status == 403 and answer.headers["Access-Control-Allow-Origin"] == "*"


def test_caches_and_other_servers_are_told_to_keep_out(signed):
    until = in_(600)
    query, cookie = SIGNER.query(APP, USER, ID, until), "reel=" + SIGNER.token(APP, USER, ID, until, "u")
    for label, target, headers, expected in (
            ("httpd", query, {}, "private, max-age=5"), ("public", query, {}, "public, max-age=5"),
            ("public", SIGNER.query(APP, USER, ID, until, client="127.0.0.1"), {}, "private, max-age=5"),
            ("public", links.Signer.path(APP, USER, ID), {"Cookie": cookie}, "private, max-age=5")):
        answer, _ = fetch(signed, target, port=signed.daemons[label].port, **headers)
        assert answer.headers["Cache-Control"] == expected, (label, headers)
        assert answer.headers.get_all("Referrer-Policy") == ["no-referrer"]


def test_an_address_sets_the_cookie_that_opens_the_files_of_its_scope(signed):
    until = in_(600)
    answer, body = fetch(signed, SIGNER.prefixed(APP, USER, ID, until, "u") + "/cookie")
    assert (answer.status, body, answer.headers["Cache-Control"]) == (204, b"", "no-store")
    paths = set()
    for line in answer.headers.get_all("Set-Cookie"):
        cookie, *rules = line.split("; ")
        assert cookie == "reel=" + SIGNER.token(APP, USER, ID, until, "u")
        assert {"Secure", "HttpOnly", "SameSite=None"} < set(rules)
        paths |= {rule for rule in rules if rule.startswith("Path=")}
    assert paths >= {f"Path=/{root}/{APP}/{USER}/" for root in ("files", "hls", "dash", "info", "poster", "storyboard")}
    age = int(next(rule for rule in rules if rule.startswith("Max-Age=")).partition("=")[2])
    assert 500 < age <= 600
    assert status(signed, links.Signer.path(APP, USER, OTHER), Cookie=cookie) == 200
    assert status(signed, links.Signer.path(APP, USER, ID)) == 403
    for stream in (f"/info/{APP}/{USER}/{ID}", f"/hls/{APP}/{USER}/{ID}/index.m3u8", f"/dash/{APP}/{USER}/{ID}/manifest.mpd",
                   f"/poster/{APP}/{USER}/{ID}/poster.jpg", f"/storyboard/{APP}/{USER}/{ID}/storyboard.vtt"):
        assert status(signed, stream) == 403
        assert status(signed, stream, Cookie=cookie) not in (400, 403)
    # Only to whoever has the link, and only from its path.
    assert status(signed, SIGNER.prefixed(APP, USER, ID, in_(-60), "u") + "/cookie") == 403
    e, k, s = SIGNER.parts(APP, USER, ID, until)
    answer, _ = fetch(signed, f"{links.Signer.path(APP, USER, ID)}/cookie?e={e}&k={k}&s={s}")
    assert answer.status == 200 and "Set-Cookie" not in answer.headers


def test_a_user_cannot_write_rules_into_the_cookie(signed):
    user = "x; Domain=evil\r\nA"
    answer, _ = fetch(signed, SIGNER.prefixed(APP, user, "id", in_(600), "u") + "/cookie")
    if answer.status == 204:
        for line in answer.headers.get_all("Set-Cookie"):
            assert "Domain" not in [part.split("=")[0] for part in line.split("; ")] and "%3B%20Domain" in line


def test_a_link_may_hold_for_one_network(signed):
    target = SIGNER.query(APP, USER, ID, in_(600), client="192.0.2.77")
    assert status(signed, target) == 403
    assert status(signed, target, X_Forwarded_For="192.0.2.1") == 200
    assert status(signed, target, X_Forwarded_For="192.0.3.1") == 403
    assert status(signed, SIGNER.query(APP, USER, ID, in_(600), client="127.0.0.9")) == 200


def test_a_link_may_hold_with_one_name_alone(signed):
    until, path = in_(600), links.Signer.path(APP, USER, ID)
    named, plain, saved = (SIGNER.exact(APP, USER, ID, until, *shown) for shown in (("film.mp4",), (), ("", "a b.mp4")))
    for target, code in (
            (f"{path}/film.mp4?{named}", 200), (f"{path}?{named}", 403), (f"{path}/invoice.mp4?{named}", 403),
            (f"{path}/film.mp4?download&{named}", 403), (f"{path}?{plain}", 200), (f"{path}/film.mp4?{plain}", 403),
            (f"{path}?download=a%20b.mp4&{saved}", 200), (f"{path}?download&{saved}", 403), (f"{path}?{saved}", 403),
            (f"{path}/film.mp4?{named.replace('x&', '&', 1)}", 403)):
        assert status(signed, target) == code, target
    e, k, s = SIGNER.parts(APP, USER, ID, until, shown=("", None))
    assert status(signed, f"/t/{k}.{e}.f.{s}{path}") == 404, "not a link at all"


def test_no_log_shows_a_signature(signed):
    until = in_(500)
    secrets = [SIGNER.parts(APP, USER, ID, until)[2], SIGNER.token(APP, USER, ID, until, "u").rsplit(".", 1)[1]]
    fetch(signed, SIGNER.query(APP, USER, ID, until), Referer="http://h" + SIGNER.prefixed(APP, USER, ID, until, "u"))
    fetch(signed, SIGNER.prefixed(APP, USER, ID, until, "u"), User_Agent="the last one")
    log = signed.dir / "log" / "httpd.access"
    wait_for(lambda: "the last one" in log.read_text() and "http://h/t/" in log.read_text())
    text = log.read_text() + signed.httpd.log()
    assert not any(secret in text for secret in secrets)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    first, = [line for line in lines if line.get("referer", "").startswith("http://h/t/")]
    last, = [line for line in lines if line.get("user_agent") == "the last one"]
    assert first["target"].endswith("&k=app-a&s=***") and ".u.***/files/" in first["referer"]
    assert ".u.***/files/" in last["target"]


def test_keys_change_while_links_are_used(own_suite):
    """A new key, then the old one goes: no good link fails, the old ones end with their key."""
    suite = own_suite
    suite.add_tracker(), suite.add_idserver(), suite.add_storage()
    daemon = suite.add_httpd(access="signed")
    daemon.configure({**daemon.config, "auth": {"keys": write_keys(suite, KEYS)}})
    suite.launch()
    suite.put(ID, CONTENT)
    old = SIGNER.query(APP, USER, ID, in_(600))
    new = links.Signer("app-b", bytes(range(1, 33))).query(APP, USER, ID, in_(600))
    line = f"app-b issuer {links.base64.b64encode(bytes(range(1, 33))).decode()}\n"
    failed, stop = [], threading.Event()

    def use(target):
        while not stop.is_set():
            if (got := status(suite, target)) != 200:
                failed.append(got)
    assert (status(suite, old), status(suite, new)) == (200, 403)
    user = threading.Thread(target=use, args=(old,))
    user.start()
    write_keys(suite, KEYS + line)
    daemon.hup()
    wait_for(lambda: status(suite, new) == 200, what="the new key")
    stop.set()
    user.join()
    assert not failed
    write_keys(suite, line)
    daemon.hup()
    wait_for(lambda: status(suite, old) == 403, what="the end of the old key")
    assert status(suite, new) == 200


def test_signed_access_without_keys_is_refused_at_the_start(own_suite):
    own_suite.add_tracker()
    daemon = own_suite.add_httpd(access="signed")
    done = daemon.command("--check-config")
    assert done.returncode == 2 and "auth.keys" in done.stderr


def test_where_access_is_open_links_are_addresses_like_others(own_suite):
    suite = own_suite
    suite.add_tracker(), suite.add_idserver(), suite.add_storage(), suite.add_httpd()
    suite.launch()
    suite.put(ID, CONTENT)
    for target in (SIGNER.query(APP, USER, ID, in_(-600)), SIGNER.prefixed(APP, USER, ID, in_(-600)),
                   links.Signer.path(APP, USER, ID) + "?s=1&e"):
        answer, body = fetch(suite, target)
        assert (answer.status, body, answer.headers["Cache-Control"]) == (200, CONTENT, "public, max-age=5")
        assert "Referrer-Policy" not in answer.headers
    assert status(suite, f"/t/broken{links.Signer.path(APP, USER, ID)}") == 404


def test_an_absolute_target_carries_a_link_too(signed):
    target = SIGNER.prefixed(APP, USER, ID, in_(600))
    answer = raw(signed, f"GET http://h{target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_what_reel_signs_opens(signed):
    keys = signed.dir / "etc" / "keys"
    for scope in ("file", "prefix:12", "user"):
        done = subprocess.run([str(BIN / "reel"), "url", "--sign", "--http", f"http://127.0.0.1:{signed.httpd.port}", "-u", USER,
                               "--scope", scope, "--name", "a b.txt", ID], capture_output=True, text=True, env={"REEL_KEYS": str(keys)})
        assert done.returncode == 0, done.stderr
        target = done.stdout.strip().removeprefix(f"http://127.0.0.1:{signed.httpd.port}")
        assert fetch(signed, target)[1] == CONTENT, target


CONDITIONS = ({}, {"Range": "bytes=0-0"}, {"Range": "bytes=99999999-"}, {"If-None-Match": "*"}, {"If-Match": '"x"'},
              {"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}, {"If-Range": '"x"', "Range": "bytes=0-0"},
              {"Accept-Encoding": "gzip"}, {"Accept": "application/json"}, {"Authorization": "Bearer x"},
              {"Tus-Resumable": "1.0.0"}, {"Cookie": "reel=app-a.ffffffff.u." + "A" * 22})
PLACES = ("/files/{of}", "/files/{of}/name.vtt", "/files/{of}?start=1&end=2", "/files/{of}?download", "/info/{of}", "/hls/{of}/index.m3u8",
          "/dash/{of}/manifest.mpd", "/poster/{of}/poster.jpg", "/storyboard/{of}/storyboard.vtt", "/tus/{of}/0123456789abcdef",
          "/api/v1/files/{of}", "/files/{of}?e=1&k=app-a&s=" + "A" * 22)


def said(suite, method, target, headers):
    """What an answer says about the file: everything but what differs between any two answers."""
    connection = http.client.HTTPConnection("127.0.0.1", suite.daemons["written"].port, timeout=30)
    connection.request(method, target, headers=headers)
    answer = connection.getresponse()
    fields = sorted((name, value) for name, value in answer.headers.items() if name not in ("Date", "X-Request-Id"))
    body = answer.read().replace(answer.headers.get("X-Request-Id", "-").encode(), b"")
    connection.close()
    return answer.status, fields, body


def test_whoever_has_no_link_gets_the_same_answer_for_every_name(own_suite):
    """A stored file, a deleted one and one that never was, asked for in every way."""
    suite = own_suite
    suite.add_tracker(), suite.add_idserver(), suite.add_storage()
    daemon = suite.add_httpd("written", access="signed", write="on", web="on", upload_draft="on")
    daemon.configure({**daemon.config, "auth": {"keys": write_keys(suite, KEYS)}})
    suite.launch()
    for file in ("there", "past1"):
        suite.put(file, CONTENT, name="film.mp4", content_type="video/mp4")
    with suite.client() as client:
        assert client.call(wire.DELETE, wire.file_key(APP, USER, "past1")).ok
    for place in PLACES:
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE"):
            for headers in CONDITIONS:
                answers = [said(suite, method, place.format(of=f"{APP}/{USER}/{file}"), headers)
                           for file in ("there", "past1", "never")]
                assert answers[0] == answers[1] == answers[2], (method, place, headers, answers)
                assert answers[0][0] in (400, 401, 403, 404, 405, 411, 412, 415) or method == "OPTIONS", (method, place, answers[0])


def test_no_spelling_of_an_address_opens_another_file(signed):
    """A good link for ID, before and behind addresses that are written in odd ways."""
    until = in_(600)
    token, parts = SIGNER.token(APP, USER, ID, until), "?e={}&k={}&s={}".format(*SIGNER.parts(APP, USER, ID, until))
    other = f"{APP}/{USER}/{OTHER}"
    ways = [f"/files/{other}", f"/files/{APP}/{USER}/{ID}/../{OTHER}", f"/files/{APP}/{USER}/{ID}%2F..%2F{OTHER}",
            f"/files/{APP}/{USER}/{ID}/%2e%2e/{OTHER}", f"/files//{other}", f"//files/{other}", f"/files/{APP}/{USER}/{ID};/{OTHER}",
            f"/files/{APP}/{USER}/{OTHER};{ID}", f"/files/{APP}/{USER}/{OTHER}%00{ID}", f"/files/{APP}/{USER}/%2536748f1c0bbbb-film",
            f"/files/{APP}%2F{USER}/{OTHER}", f"/files/{APP}/{USER}%2F{OTHER}", f"/files/{APP}/./{USER}/{OTHER}",
            f"/info/{other}", f"/info/{APP}/{USER}/{ID},{OTHER}", f"/hls/{APP}/{USER}/{ID},{OTHER}/index.m3u8",
            f"/dash/{APP}/{USER}/{OTHER},{ID}/manifest.mpd", f"/poster/{other}/poster.jpg", f"/storyboard/{other}/storyboard.vtt",
            f"/files/{APP}/{USER}/{OTHER}?x=/files/{APP}/{USER}/{ID}", f"/FILES/{other}", f"/files/{APP}/{USER}/{OTHER}#{ID}"]
    for way in ways:
        for target in (f"/t/{token}{way}", way + (parts if "?" not in way else "&" + parts[1:]), f"/%74/{token}{way}",
                       f"/t/{token}/t/{token}{way}", f"/t/{token}%2F..{way}", f"/t//{token}{way}", f"/t/{token}/{way}"):
            answer = raw(signed, f"GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n".encode())
            assert answer[9:12] in (b"400", b"403", b"404"), (target, answer[:100])
    assert status(signed, f"/t/{token}/files/{APP}/{USER}/{ID.replace('-', '%2D')}") == 200
    assert status(signed, f"/t/{token}/files/{APP}/{USER}/{ID.replace('-', '%252D')}") == 403
