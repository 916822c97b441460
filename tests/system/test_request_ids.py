"""One upload is followed by its name through the HTTP server's access log and log, the tracker's and the storage server's."""
import http.client
import json
import re

from suite import APP, USER, new_id, wait_for

TRACE = "0af7651916cd43dd8448eb211c80319c"


def ask(suite, method, path, body=None, sampled=None):
    headers = {} if sampled is None else {"traceparent": f"00-{TRACE}-b7ad6b7169203331-0{sampled}"}
    connection = http.client.HTTPConnection("127.0.0.1", suite.httpd.port, timeout=30)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    answer = response.status, dict(response.getheaders()), response.read()
    connection.close()
    return answer


def lines(daemon, name):
    return [line for line in daemon.log().splitlines() if f"request {name}" in line]


def test_an_upload_is_followed_through_four_logs(own_suite):
    suite = own_suite
    access = suite.dir / "log" / "access.log"
    suite.start(None, {"write": "open", "access_log": access, "access_log_format": "json"})
    for daemon in suite.daemons.values():  # as in production
        daemon.config.setdefault("log", {})["level"] = "info"
        daemon.configure(daemon.config)
        daemon.hup()
    path = f"/files/tnvideo/someone/{new_id()}"

    status, headers, _ = ask(suite, "PUT", path, b"content", sampled=1)
    assert status == 201 and headers["X-Request-Id"] == TRACE
    wait_for(lambda: TRACE in access.read_text(), what="the access log")
    logged = [json.loads(line) for line in access.read_text().splitlines()]
    assert [line["status"] for line in logged if line["id"] == TRACE] == [201]
    wait_for(lambda: any("answered 201" in line for line in lines(suite.httpd, TRACE)), what="the line of httpd")
    wait_for(lambda: any("saddrs answered" in line for line in lines(suite.tracker, TRACE)), what="the line of tracker")
    wait_for(lambda: any("store answered" in line for line in lines(suite.storage, TRACE)), what="the line of storage")

    # And a download, of a user whom reel-httpd has to ask for.
    file = new_id()
    suite.reel("upload", "-", "--file-id", file, input=b"content")
    down = "1" + TRACE[1:]
    connection = http.client.HTTPConnection("127.0.0.1", suite.httpd.port, timeout=30)
    connection.request("GET", f"/files/{APP}/{USER}/{file}", None, {"traceparent": f"00-{down}-b7ad6b7169203331-01"})
    response = connection.getresponse()
    assert response.status == 200 and response.read() == b"content" and response.getheader("X-Request-Id") == down
    connection.close()
    wait_for(lambda: down in access.read_text(), what="the access log")
    wait_for(lambda: any("answered 200" in line for line in lines(suite.httpd, down)), what="reel-httpd's log")
    wait_for(lambda: any(re.search(r"(read|download) answered", line) for line in lines(suite.storage, down)), what="the storage server's log")
    wait_for(lambda: any("stat answered" in line for line in lines(suite.storage, down)), what="the line of storage")
    wait_for(lambda: any("locate answered" in line for line in lines(suite.tracker, down)), what="the line of tracker")

    # Nobody follows it: nothing but the access log grows, and failures name it all the same.
    before = [len(daemon.log()) for daemon in suite.daemons.values()]
    status, headers, _ = ask(suite, "PUT", f"/files/tnvideo/someone/{new_id()}", b"content")
    name = headers["X-Request-Id"]
    assert status == 201 and re.fullmatch("[0-9a-f]{32}", name)
    wait_for(lambda: name in access.read_text(), what="the access log")
    # Lines are written by a thread of their own: those about the request before may still come.
    assert not [line for size, daemon in zip(before, suite.daemons.values()) for line in daemon.log()[size:].splitlines() if down not in line]
    status, headers, body = ask(suite, "PUT", path, b"other bytes")
    name = headers["X-Request-Id"]
    assert status == 409 and name.encode() in body
    wait_for(lambda: any("exists" in line for line in lines(suite.storage, name)), what="the line of storage")

    # The command: -v prints the name, and the texts of failures have it.
    done = suite.reel("-v", "-q", "upload", "-", input=b"by the command")
    done = suite.reel("-v", "upload", "-", input=b"by the command")
    name = re.search(rb"request ([0-9a-f]{32})", done.stderr).group(1).decode()
    wait_for(lambda: any("put_trailer answered" in line for line in lines(suite.storage, name)), what="the line of storage")
    assert lines(suite.tracker, name)
    done = suite.reel("-v", "stat", "no-such-file", check=False)
    assert done.returncode == 3 and len(set(re.findall(rb"request ([0-9a-f]{32})", done.stderr))) == 1
    assert b"(request" in done.stderr and b"request" not in suite.reel("stat", "no-such-file", check=False).stderr
