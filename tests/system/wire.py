"""A small client of the packet protocol, written from docs/protocol.md alone: it shares no code with common/, so that a
mistake there cannot hide here."""
import base64
import hashlib
import hmac
import os
import socket
import struct

TRACKER, IDSERVER, STORAGE = 100, 101, 102
JOIN, BEAT, SADDRS, GROUPS, LOAD, STATUS, LOCATE, SERVERS = 10, 11, 12, 13, 14, 15, 16, 26
GET, RANGE = 40, 41
UPLOAD, FILESIZE, DOWNLOAD, DELETE, STAT, RESTORE, LIST, PUT, WHERE = 70, 71, 72, 73, 74, 75, 76, 77, 78
BEGIN, APPEND, OFFSET, FINISH, ABORT, JOIN_PARTS = 82, 83, 84, 85, 86, 87
RENAME, MOVE, FETCH, LEFT = 90, 91, 92, 93

MALFORMED, UNKNOWN_COMMAND, NOT_FOUND, EXISTS, DELETED, OUT_OF_RANGE = -2, -3, -4, -5, -6, -7
NO_SPACE, UNAVAILABLE, NO_SERVER, DIGEST, REFUSED, IO = -8, -9, -10, -11, -12, -13
UNAUTHENTICATED, FORBIDDEN, THROTTLED = -18, -19, -20

HELLO, PROVE, TOKEN, WHOAMI = 1, 2, 3, 4
ROLES = {"none": 0, "client": 1, "storage": 2, "gateway": 3, "operator": 4, "tracker": 5, "idserver": 6, "issuer": 7}
RIGHTS = {"r": 1, "w": 2, "d": 4, "l": 8}


class Reply:
    def __init__(self, command, status, body):
        self.command, self.status, self.body = command, status, body

    @property
    def ok(self):
        return self.status == 0

    @property
    def number(self):
        assert self.status != 0 and len(self.body) >= 2
        return struct.unpack(">h", self.body[:2])[0]

    @property
    def text(self):
        return self.failure()[0]

    @property
    def group(self):
        """The group to ask, of a failure -21; else ""."""
        return self.failure()[1]

    def failure(self):
        assert self.status != 0 and self.body.endswith(b"\0")
        text, _, group = self.body[2:-1].partition(b"\0")
        assert len(text) < 1024 and len(group) < 17 and b"\0" not in group
        assert not group or self.number == -21
        return text.decode(), group.decode()

    def __repr__(self):
        return f"Reply(command={self.command}, status={self.status:#x}, body={self.body[:200]!r})"


def field(value, size, rubbish=True):
    """A string field as legacy clients send it: the text, its NUL, and whatever was on their stack."""
    if isinstance(value, str):
        value = value.encode()
    rest = size - len(value) - 1
    assert rest >= 0, "does not fit with its NUL"
    return value + b"\0" + (os.urandom(rest) if rubbish else bytes(rest))


def header(length, command, status=0):
    return struct.pack(">qBb", length, command, status)


def exactly(connection, size):
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError(f"connection closed after {len(data)} of {size} bytes")
        data += part
    return bytes(data)


def packet(connection):
    """The next packet that comes over a socket, whole: the command is at 8, the body at 10."""
    head = exactly(connection, 10)
    return head + exactly(connection, struct.unpack(">q", head[:8])[0])


def file_key(app, user, file):
    return field(app, 16) + field(user, 256) + field(file, 128)


def upload_head(app, user, file, size):
    return file_key(app, user, file) + struct.pack(">q", size)


def join_body(group, host, port, start=1, join=2, version="1.0"):
    return field(version, 7) + field(group, 17) + field(host, 129) + struct.pack(">Hqq", port, start, join)


def put_head(app, user, file, size, name="", content_type="", digest=None, group=None):
    """GROUP: that the tracker named, at the end of the content type's field."""
    kind = field(content_type, 111) + field(group, 17, rubbish=False) if group else field(content_type, 128)
    return (upload_head(app, user, file, size) + field(name, 256) + kind
            + struct.pack(">B", 1 if digest else 0) + (digest or bytes(16)))


def begin_body(app, user, file, size=-1, keep=0, **more):
    return put_head(app, user, file, size, **more) + struct.pack(">q", keep)


def append_head(app, user, file, token, offset, size, total=-1, digest_follows=False):
    return file_key(app, user, file) + token + struct.pack(">qqqB", offset, total, size, digest_follows)


def finish_body(app, user, file, token, digest=None):
    return file_key(app, user, file) + token + struct.pack(">B", 1 if digest else 0) + (digest or bytes(16))


def parse_state(body):
    """Of a partial upload."""
    assert len(body) == 25, len(body)
    offset, size, expires, complete = struct.unpack(">qqqB", body)
    assert complete in (0, 1)
    return {"offset": offset, "size": size, "expires": expires, "complete": bool(complete)}


def parse_stat(body):
    assert len(body) == 443, len(body)
    size, status, created, deleted, has_digest = struct.unpack(">qBqqB", body[:26])
    text = lambda at, n: body[at:at + n].split(b"\0", 1)[0].decode()
    return {"size": size, "status": status, "created": created, "deleted": deleted,
            "digest": body[26:42] if has_digest else None, "type": text(42, 128), "name": text(170, 256),
            "group": text(426, 17)}


# --- sessions ---

def mac(key, *parts):
    return hmac.new(key, b"".join(parts), hashlib.sha256).digest()


def sub_key(secret, word):
    """What a secret of the keys file (32 bytes) is never used for itself."""
    return mac(secret, b"reel-1 ", word.encode())


def hello_body(key_id, role, nonce, wishes=1, version=1):
    return (struct.pack(">HH", version, wishes) + key_id.encode().ljust(16, b"\0") + bytes([ROLES.get(role, role)])
            + bytes(11) + nonce)


def transcript(hello, reply, binding=bytes(32)):
    return hashlib.sha256(hello + reply + binding).digest()


def client_proof(secret, covered):
    return mac(sub_key(secret, "client"), b"reel-auth-1 c\0", covered)


def server_proof(secret, covered, proof):
    return mac(sub_key(secret, "server"), b"reel-auth-1 s\0", covered, proof)


def token_body(key_id, secret, app, user, rights, expires, not_before=0, prefix=None):
    scope = user.encode() + (b"\0" + prefix.encode() if prefix is not None else b"")
    head = (bytes([1, sum(RIGHTS[letter] for letter in rights), 0, 0]) + struct.pack(">qq", not_before, expires)
            + key_id.encode().ljust(16, b"\0") + app.encode().ljust(16, b"\0") + struct.pack(">H", len(scope)) + scope)
    return head + mac(sub_key(secret, "token"), head)


def token_text(body):
    return base64.urlsafe_b64encode(body).rstrip(b"=").decode()


def file_table(user):
    """docs/protocol.md, "Which table holds a user's files"."""
    h = 0
    for i, byte in enumerate(user.encode()):
        b = byte - 256 if byte > 127 else byte
        h ^= ~((h << 11) ^ b ^ (h >> 5)) if i % 2 else (h << 7) ^ b ^ (h >> 3)
        h &= 0xffffffff
    return (h & 0x7fffffff) % 3 + 1


class Client:
    """One connection."""

    def __init__(self, address, timeout=60, source=None):
        self.socket = socket.create_connection(address, timeout=timeout, source_address=source and (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def receive_exactly(self, size):
        return exactly(self.socket, size)

    def receive(self):
        length, command, status = struct.unpack(">qBB", self.receive_exactly(10))
        assert length >= 0
        return Reply(command, status, self.receive_exactly(length))

    def at_end(self):
        """True when the peer closed in order, without a reset."""
        return self.socket.recv(1) == b""

    def call(self, command, body=b"", status=0):
        self.send(header(len(body), command, status) + body)
        return self.receive()

    # --- sessions ---
    def hello(self, key_id, role, nonce=None, wishes=1):
        """The request's body and the reply."""
        body = hello_body(key_id, role, nonce or os.urandom(32), wishes)
        return body, self.call(HELLO, body)

    def prove(self, key_id, secret, role):
        """A whole proof, of the server's too. The reply to PROVE."""
        body, reply = self.hello(key_id, role)
        if not reply.ok:
            return reply
        assert len(reply.body) == 96
        covered = transcript(body, reply.body)
        proof = client_proof(secret, covered)
        reply = self.call(PROVE, proof)
        if reply.ok:
            assert len(reply.body) == 48 and reply.body[:32] == server_proof(secret, covered, proof)
        return reply

    def whoami(self):
        reply = self.call(WHOAMI)
        assert reply.ok and len(reply.body) == 40, reply
        role, rights, ends = struct.unpack(">Bqq", reply.body[:17])
        name = next(name for name, number in ROLES.items() if number == role)
        return {"role": name, "rights": rights, "ends": ends, "key": reply.body[17:33].split(b"\0", 1)[0].decode()}

    # --- the base set ---
    def upload(self, app, user, file, content):
        head = upload_head(app, user, file, len(content))
        self.send(header(len(head) + len(content), UPLOAD) + head + content)
        return self.receive()

    # --- partial uploads ---
    def begin(self, app, user, file, size=-1, **more):
        """The token; anything but a success is a fault."""
        reply = self.call(BEGIN, begin_body(app, user, file, size, **more))
        assert reply.ok and len(reply.body) == 41, reply
        parse_state(reply.body[16:])
        return reply.body[:16]

    def append(self, app, user, file, token, offset, content, **more):
        head = append_head(app, user, file, token, offset, len(content), **more)
        self.send(header(len(head) + len(content), APPEND) + head + content)
        return self.receive()

    def offset(self, app, user, file, token):
        reply = self.call(OFFSET, file_key(app, user, file) + token)
        assert reply.ok, reply
        return parse_state(reply.body)

    def finish(self, app, user, file, token, digest=None):
        return self.call(FINISH, finish_body(app, user, file, token, digest))

    def join_parts(self, app, user, file, token, parts, digest=None):
        return self.call(JOIN_PARTS, finish_body(app, user, file, token, digest) + b"".join(parts))

    def put(self, app, user, file, content, **more):
        head = put_head(app, user, file, len(content), **more)
        self.send(header(len(head) + len(content), PUT) + head + content)
        return self.receive()

    def download(self, app, user, file, offset=0, size=0):
        return self.call(DOWNLOAD, file_key(app, user, file) + struct.pack(">qq", offset, size))

    def size(self, app, user, file):
        reply = self.call(FILESIZE, file_key(app, user, file))
        assert reply.ok, reply
        assert len(reply.body) == 8
        return struct.unpack(">q", reply.body)[0]

    def stat(self, app, user, file):
        reply = self.call(STAT, file_key(app, user, file))
        return parse_stat(reply.body) if reply.ok else reply

    def list(self, app, user, after="", limit=100, status=0):
        reply = self.call(LIST, file_key(app, user, after) + struct.pack(">iB", limit, status))
        assert reply.ok, reply
        assert len(reply.body) % 571 == 0
        entries = [reply.body[at:at + 571] for at in range(0, len(reply.body), 571)]
        return [(e[:128].split(b"\0", 1)[0].decode(), parse_stat(e[128:])) for e in entries]


def ask(address, command, body=b"", source=None):
    """One request on a connection of its own."""
    with Client(address, source=source) as client:
        return client.call(command, body)
