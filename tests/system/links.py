"""Signed links as docs/http.md describes them, by a program that shares no code with ours."""
import base64
import hashlib
import hmac
import ipaddress
import struct
import urllib.parse

FLAG_EXACT, FLAG_NETWORK = 1, 2


def counted(data):
    return struct.pack(">H", len(data)) + data


def network_of(address):
    address = ipaddress.ip_address(address)
    return address.packed[:3] if address.version == 4 else address.packed[:8]


def derived(secret):
    return hmac.new(secret, b"reel-1 link", hashlib.sha256).digest()


def message(application, user, file, expires, scope="f", client=None, shown=None):
    """SHOWN: None, or (name, None or the name behind ?download), with which alone the link holds."""
    kind = scope[0].encode()
    signed = {"f": file.encode(), "p": file.encode()[:int(scope[1:] or 0)], "u": b""}[scope[0]]
    text = b"L1" + counted(application.encode()) + counted(user.encode()) + counted(kind + signed) + struct.pack(">Q", expires)
    text += bytes([(FLAG_EXACT if shown else 0) | (FLAG_NETWORK if client else 0)])
    if shown:
        name, download = shown
        text += counted(name.encode()) + counted(b"" if download is None else b"d" + download.encode())
    return text + (counted(network_of(client)) if client else b"")


def signature(secret, *what, **more):
    digest = hmac.new(derived(secret), message(*what, **more), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


class Signer:
    def __init__(self, key, secret):
        self.key, self.secret = key, secret

    def parts(self, application, user, file, expires, scope="f", client=None, shown=None):
        return (f"{expires:x}" + ("x" if shown else "") + ("n" if client else ""), self.key,
                signature(self.secret, application, user, file, expires, scope=scope, client=client, shown=shown))

    def token(self, application, user, file, expires, scope="f", client=None):
        e, k, s = self.parts(application, user, file, expires, scope, client)
        return f"{k}.{e}.{scope}.{s}"

    @staticmethod
    def path(application, user, file):
        return "/files/" + "/".join(urllib.parse.quote(part, safe="") for part in (application, user, file))

    def query(self, application, user, file, expires, client=None):
        e, k, s = self.parts(application, user, file, expires, client=client)
        return f"{self.path(application, user, file)}?e={e}&k={k}&s={s}"

    def exact(self, application, user, file, expires, name="", download=None, client=None):
        """The query of a link that holds with this name and this ?download alone."""
        return "e={}&k={}&s={}".format(*self.parts(application, user, file, expires, client=client, shown=(name, download)))

    def prefixed(self, application, user, file, expires, scope="f", client=None):
        return f"/t/{self.token(application, user, file, expires, scope, client)}{self.path(application, user, file)}"
