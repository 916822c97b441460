"""Servers of the tests' own: what listens on a free port with a thread per connection, and what passes connections on to a
real server. Slow lines, proxies, stand-ins and whoever sits in the middle are built on these."""
import contextlib
import socket
import threading


class Listening:
    """Listens on a free port of HOST; serve(connection) of the subclass runs on a thread of its own for each connection, which is
    closed when it returns or when its peer is gone. A subclass sets its members before it calls __init__ here."""

    def __init__(self, host="127.0.0.1"):
        self.listener = socket.create_server((host, 0), backlog=100)
        self.address = self.listener.getsockname()
        self.port = self.address[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):  # closed
            while True:
                threading.Thread(target=self._serve, args=(self.listener.accept()[0],), daemon=True).start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError, EOFError):
            self.serve(connection)

    def close(self):
        shut(self.listener)  # or a thread in accept() would keep it open
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Pair:
    """One connection that is passed on, with its two ends. A subclass may look at what goes by."""

    def __init__(self, relay, client, server):
        self.relay, self.client, self.server = relay, client, server

    def forward(self):
        """From the client, until it ends."""
        self.carry(self.client, self.server)

    def backward(self):
        self.carry(self.server, self.client)

    @staticmethod
    def carry(source, drain, pause=None):
        while piece := source.recv(16384):
            if pause:
                pause(len(piece))
            drain.sendall(piece)
        drain.shutdown(socket.SHUT_WR)

    def cut(self):
        shut(self.client), shut(self.server)


class Relay(Listening):
    """Passes bytes on between its clients and TARGET, (host, port), by a Pair per connection."""

    def __init__(self, target, pair=Pair):
        self.target, self.pair = target, pair
        self.away = False  # connections are closed at once
        self.pairs, self.lock = set(), threading.Lock()
        super().__init__()

    def serve(self, client):
        if self.away:
            return
        with socket.create_connection(self.target) as server:
            pair = self.pair(self, client, server)
            with self.lock:
                self.pairs.add(pair)
            back = threading.Thread(target=self._run, args=(pair, pair.backward), daemon=True)
            back.start()
            self._run(pair, pair.forward)
            back.join()
            with self.lock:
                self.pairs.discard(pair)

    @staticmethod
    def _run(pair, direction):
        try:
            direction()
        except (OSError, EOFError):
            pair.cut()

    def cut_all(self):
        with self.lock:
            pairs = list(self.pairs)
        for pair in pairs:
            pair.cut()

    def leave(self):
        self.away = True
        self.cut_all()

    def close(self):
        super().close()
        self.cut_all()


def shut(end):
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
