"""Stand-ins for a storage server and a client of the predecessor, written from docs/protocol.md: the base set only, rubbish after
every NUL, status 0xFD and number -1 for each failure, and the end of the connection after it."""
import contextlib
import struct
import threading
import time

import wire
from relay import Listening

BEAT_SECONDS = 10.0


class Answering(Listening):
    """A daemon in this process that answers single packets; a failure, -1 for whatever it is, ends the connection."""

    def __init__(self, reply_command, host="127.0.0.1"):
        self.reply_command, self.seen = reply_command, []
        super().__init__(host)

    def serve(self, connection):
        while True:
            request = wire.packet(connection)
            self.seen.append(request[8])
            answer = self.answer(request[8], request[10:], connection.getpeername()[0])
            if answer is None:
                text = b"[old] no\0"
                connection.sendall(struct.pack(">qBBh", 2 + len(text), self.reply_command, 0xFD, -1) + text)
                return
            connection.sendall(struct.pack(">qBB", len(answer), self.reply_command, 0) + answer)

    def stop(self):
        self.close()


class Server(Answering):
    """A storage server in this process: joins TRACKERS, beats, takes a number of IDSERVER for each file, keeps files in memory.
    KEEPS: whether it beats over the connection that joined, or over a new one each time. SOURCE: the address that it connects from."""

    def __init__(self, group, trackers, idserver, host="oldmedia", beat=BEAT_SECONDS, keeps=True, source=None):
        self.source = source
        self.group, self.host, self.idserver, self.beat, self.keeps = group, host, idserver, beat, keeps
        self.files, self.numbers, self.refused, self.beats = {}, [], [], []
        self.ending = threading.Event()
        super().__init__(wire.STORAGE, "0.0.0.0")
        for tracker in trackers:
            threading.Thread(target=self.stay, args=(tracker,), daemon=True).start()

    def stay(self, tracker):
        """JOIN, then BEATs; whatever goes wrong, again from the start."""
        while not self.ending.is_set():
            try:
                with contextlib.ExitStack() as kept:
                    client = kept.enter_context(wire.Client(tracker, timeout=5, source=self.source))
                    now = int(time.time())
                    reply = client.call(wire.JOIN, wire.join_body(self.group, self.host, self.port, now, now))
                    while reply.ok and not self.pause(client):
                        if not self.keeps:
                            client = kept.enter_context(wire.Client(tracker, timeout=5, source=self.source))
                        reply = client.call(wire.BEAT, wire.field(self.group, 17) + wire.field(self.host, 129))
                        self.beats.append(time.monotonic())
                    if not reply.ok:
                        self.refused.append(reply)
            except (OSError, EOFError):
                pass
            self.ending.wait(0.5)

    def pause(self, client):
        """Until the next BEAT; true at the end."""
        if not self.keeps:
            client.close()
        return self.ending.wait(self.beat)

    def answer(self, command, body, _):
        key = tuple(part.split(b"\0", 1)[0] for part in (body[:16], body[16:272], body[272:400]))
        if command == wire.UPLOAD and len(body) >= 408:
            if key in self.files or struct.unpack(">q", body[400:408])[0] != len(body) - 408:
                return None
            self.numbers.append(struct.unpack(">q", wire.ask(self.idserver, wire.GET, b"../data\0", self.source).body)[0])
            self.files[key] = body[408:]
            return b""
        if key not in self.files:
            return None
        if command == wire.FILESIZE and len(body) == 400:
            return struct.pack(">q", len(self.files[key]))
        if command == wire.DOWNLOAD and len(body) == 416:
            offset, size = struct.unpack(">qq", body[400:])
            return self.files[key][offset:offset + size if size else None]
        if command == wire.DELETE and len(body) == 400:
            del self.files[key]
            return b""
        return None

    def stop(self):
        self.ending.set()
        self.close()


class Tracker(Answering):
    """The predecessor's tracker, of one group: JOIN, BEAT and SADDRS."""

    def __init__(self, group):
        self.group, self.servers = group, {}
        super().__init__(wire.TRACKER)

    def answer(self, command, body, peer):
        if command == wire.JOIN and len(body) == 171:
            host = body[24:153].split(b"\0", 1)[0]
            self.servers[host] = f"{peer}:{struct.unpack('>H', body[153:155])[0]}"
            return b""
        if command == wire.BEAT and len(body) == 146:
            return b"" if body[17:].split(b"\0", 1)[0] in self.servers else None
        if command == wire.SADDRS and len(body) == 400 and self.servers:
            return wire.field(self.group, 17) + "".join(f"{address};" for address in self.servers.values()).encode() + b"\0"
        return None


class IdServer(Answering):
    """The predecessor's ID server: GET."""

    def __init__(self):
        self.next = 0
        super().__init__(wire.IDSERVER)

    def answer(self, command, body, peer):
        if command != wire.GET or not 2 <= len(body) <= 65:
            return None
        self.next += 1
        return struct.pack(">q", self.next - 1)


class Client:
    """The predecessor's client: asks a tracker, then the first server it names, a fresh connection each; ten times."""

    def __init__(self, tracker, app, user, source=None, tries=10):
        self.tracker, self.app, self.user, self.source, self.tries = tracker, app, user, source, tries

    def call(self, file, do):
        for _ in range(self.tries):
            try:
                reply = wire.ask(self.tracker, wire.SADDRS, wire.file_key(self.app, self.user, file), self.source)
                if reply.ok:
                    host, port = reply.body[17:].split(b";", 1)[0].decode().rsplit(":", 1)
                    with wire.Client((host, int(port)), timeout=10, source=self.source) as client:
                        reply = do(client)
                    if reply.ok:
                        return reply.body
            except (OSError, EOFError):
                pass
            time.sleep(0.2)
        return None

    def upload(self, file, content):
        return self.call(file, lambda c: c.upload(self.app, self.user, file, content)) is not None

    def download(self, file):
        return self.call(file, lambda c: c.download(self.app, self.user, file))

    def size(self, file):
        body = self.call(file, lambda c: c.call(wire.FILESIZE, wire.file_key(self.app, self.user, file)))
        return struct.unpack(">q", body)[0]

    def delete(self, file):
        return self.call(file, lambda c: c.call(wire.DELETE, wire.file_key(self.app, self.user, file))) is not None
