"""A MariaDB server with a proxy before it, which is slow, cuts connections in the middle of a write, delivers a write long
after its client has left, or is away."""
import socket
import struct
import threading
import time
import urllib.parse

COM_QUERY, COM_PREPARE, COM_EXECUTE = 0x03, 0x16, 0x17


class Proxy:
    """Forwards to PORT of 127.0.0.1. Knows as much of the protocol as it takes to see an INSERT and a COMMIT go by."""

    def __init__(self, port):
        self.target = port
        self.delay = 0        # seconds that each request is held
        self.away = False     # connections are closed at once
        # (what, when): "insert", "update" (of a file's row) or "commit"; cut "before" or "after" it was forwarded, or
        # "late": held until `release` is set, whether its client still waits or not.
        self.armed = None
        self.release, self.delivered = threading.Event(), threading.Event()
        self.endings = []     # how clients left whose packet was held: "reset" or "closed"
        self.then_away = False
        self.cuts = 0
        self.connections = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if self.away:
                client.close()
                continue
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            server = socket.create_connection(("127.0.0.1", self.target))
        except OSError:
            client.close()
            return
        pair = Pair(self, client, server)
        with self.lock:
            self.connections.add(pair)
        threading.Thread(target=pair.backward, daemon=True).start()
        pair.forward()
        pair.close()
        with self.lock:
            self.connections.discard(pair)

    def take(self, what):
        """True where this is what is to be cut."""
        with self.lock:
            if not self.armed or self.armed[0] != what:
                return None
            when, self.armed = self.armed[1], None
            self.cuts += 1
            return when

    def cut_all(self):
        with self.lock:
            pairs = list(self.connections)
        for pair in pairs:
            pair.close()

    def leave(self):
        self.away = True
        self.cut_all()

    def close(self):
        self.listener.close()
        self.cut_all()


class Pair:
    def __init__(self, proxy, client, server):
        self.proxy, self.client, self.server = proxy, client, server
        self.statements, self.preparing = {}, None  # number -> "insert" or "update"
        self.muted = False

    def close(self):
        for end in (self.client, self.server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def packet(self, sock):
        head = self.exactly(sock, 4)
        return head and head + self.exactly(sock, int.from_bytes(head[:3], "little"))

    @staticmethod
    def exactly(sock, size):
        data = b""
        while len(data) < size:
            part = sock.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data

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
        self.proxy.endings.append(ending)
        self.proxy.release.wait(60)
        self.server.sendall(packet)

    def forward(self):
        try:
            while True:
                packet = self.packet(self.client)
                if self.proxy.delay:
                    time.sleep(self.proxy.delay)
                when = (kind := self.kind(packet)) and self.proxy.take(kind)
                if when:
                    self.muted = True
                    if when == "late":
                        self.hold(packet)
                        self.proxy.delivered.wait(10)
                        return
                    if self.proxy.then_away:
                        self.proxy.away = True
                    if when == "after":
                        self.server.sendall(packet)
                        time.sleep(0.3)  # the server does it
                    if self.proxy.then_away:
                        self.proxy.cut_all()
                    return
                self.server.sendall(packet)
        except (OSError, EOFError):
            pass

    def backward(self):
        try:
            while True:
                data = self.server.recv(65536)
                if not data:
                    break
                if self.preparing is not None and len(data) >= 9 and data[4] == 0:
                    number, sql = struct.unpack("<I", data[5:9])[0], self.preparing.upper()
                    for kind, begin in (("insert", b"INSERT INTO"), ("update", b"UPDATE T_FILE_")):
                        if begin in sql:
                            self.statements[number] = kind
                    self.preparing = None
                if not self.muted:
                    self.client.sendall(data)
                elif self.proxy.release.is_set():
                    self.proxy.delivered.set()
        except OSError:
            pass
        self.close()


class Proxied:
    """A MariaDB whose URL leads through a proxy; everything else is the server's own."""

    def __init__(self, mariadb):
        self.mariadb = mariadb
        self.proxy = Proxy(mariadb.port)

    def url(self, database):
        return f"mysql://reel:{urllib.parse.quote('p@ss:w/rd', safe='')}@127.0.0.1:{self.proxy.port}/{database}"

    def __getattr__(self, name):
        return getattr(self.__dict__["mariadb"], name)
