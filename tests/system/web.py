"""Asks an HTTP server as plainly as can be: one connection a request, the bytes as they are."""
import http.client
import socket
import urllib.parse

from suite import APP, USER


def fetch(suite, target, method="GET", port=None, **headers):
    """(the answer, its body); a short body raises IncompleteRead."""
    connection = http.client.HTTPConnection("127.0.0.1", port or suite.httpd.port, timeout=60)
    try:
        connection.request(method, target, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = connection.getresponse()
        return answer, answer.read()
    finally:
        connection.close()


def path(file, user=USER, name=None):
    return f"/files/{APP}/{urllib.parse.quote(user, safe='')}/{urllib.parse.quote(file, safe='')}" + \
        ("/" + urllib.parse.quote(name) if name else "")


def raw(suite, data, size=65536, port=None):
    """Everything that comes back for DATA until the server closes."""
    with socket.create_connection(("127.0.0.1", port or suite.httpd.port), timeout=60) as s:
        s.sendall(data)
        out = b""
        while part := s.recv(size):
            out += part
        return out
