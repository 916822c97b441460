"""A MariaDB server with a proxy before it, which is slow, cuts connections in the middle of a write, delivers a write long
after its client has left, or is away."""
import struct
import threading
import time
import urllib.parse

import wire
from relay import Pair, Relay

COM_QUERY, COM_PREPARE, COM_EXECUTE = 0x03, 0x16, 0x17


class Proxy(Relay):
    """Forwards to PORT of 127.0.0.1. Knows as much of the protocol as it takes to see an INSERT and a COMMIT go by."""

    def __init__(self, port):
        self.delay = 0        # seconds that each request is held
        # (what, when): "insert", "update" (of a file's row) or "commit"; cut "before" or "after" it was forwarded, or
        # "late": held until `release` is set, whether its client still waits or not.
        self.armed = None
        self.release, self.delivered = threading.Event(), threading.Event()
        self.endings = []     # how clients left whose packet was held: "reset" or "closed"
        self.then_away = False
        self.cuts = 0
        super().__init__(("127.0.0.1", port), Statements)

    def take(self, what):
        """True where this is what is to be cut."""
        with self.lock:
            if not self.armed or self.armed[0] != what:
                return None
            when, self.armed = self.armed[1], None
            self.cuts += 1
            return when


class Statements(Pair):
    """One connection to the database."""

    def __init__(self, relay, client, server):
        super().__init__(relay, client, server)
        self.statements, self.preparing = {}, None  # number -> "insert" or "update"
        self.muted = False

    @staticmethod
    def packet(sock):
        head = wire.exactly(sock, 4)
        return head + wire.exactly(sock, int.from_bytes(head[:3], "little"))

    def kind(self, packet):
        command, body = packet[4], packet[5:]
        if packet[3] != 0:
            return None
        if command == COM_PREPARE:
            self.preparing = body
        elif command == COM_QUERY:
            text = body.lstrip().upper()
            return "commit" if text.startswith(b"COMMIT") else "insert" if text.startswith(b"INSERT INTO") else None
        elif command == COM_EXECUTE:
            return self.statements.get(struct.unpack("<I", body[:4])[0])
        return None

    def hold(self, packet):
        """The network at its worst: the client has long given up when the server gets its packet."""
        try:
            ending = "closed" if self.client.recv(1) == b"" else "talks on"
        except ConnectionResetError:
            ending = "reset"
        self.relay.endings.append(ending)
        self.relay.release.wait(60)
        self.server.sendall(packet)

    def forward(self):
        """Ends with the connection, or with the packet that is cut."""
        try:
            while True:
                packet = self.packet(self.client)
                if self.relay.delay:
                    time.sleep(self.relay.delay)
                when = (kind := self.kind(packet)) and self.relay.take(kind)
                if when:
                    self.muted = True
                    self.cut_short(packet, when)
                    return
                self.server.sendall(packet)
        finally:
            self.cut()

    def cut_short(self, packet, when):
        if when == "late":
            self.hold(packet)
            self.relay.delivered.wait(60)
            return
        if self.relay.then_away:
            self.relay.away = True
        if when == "after":
            self.server.sendall(packet)
            time.sleep(0.3)  # the server does it
        if self.relay.then_away:
            self.relay.cut_all()

    def backward(self):
        while data := self.server.recv(65536):
            if self.preparing is not None and len(data) >= 9 and data[4] == 0:
                number, sql = struct.unpack("<I", data[5:9])[0], self.preparing.upper()
                for kind, begin in (("insert", b"INSERT INTO"), ("update", b"UPDATE T_FILE_")):
                    if begin in sql:
                        self.statements[number] = kind
                self.preparing = None
            if not self.muted:
                self.client.sendall(data)
            elif self.relay.release.is_set():
                self.relay.delivered.set()
        self.cut()


class Proxied:
    """A MariaDB whose URL leads through a proxy; everything else is the server's own."""

    def __init__(self, mariadb):
        self.mariadb = mariadb
        self.proxy = Proxy(mariadb.port)

    def url(self, database):
        return f"mysql://reel:{urllib.parse.quote('p@ss:w/rd', safe='')}@127.0.0.1:{self.proxy.port}/{database}"

    def __getattr__(self, name):
        return getattr(self.__dict__["mariadb"], name)
