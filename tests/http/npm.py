"""What comes from npm: packages, each set pinned by the package-lock.json of its folder here, and the pages of another origin that use
them. They are for the night (REEL_NPM; scripts/nightly.sh sets it)."""
import contextlib
import http.server
import os
import pathlib
import shutil
import subprocess
import threading

import pytest

from browsers import tool

NPM = pytest.mark.skipif(not os.environ.get("REEL_NPM"), reason="REEL_NPM is not set: what comes from npm is for the night")
HERE = pathlib.Path(__file__).resolve().parent


def install(folder, directory):
    """The packages of tests/http/FOLDER, below DIRECTORY."""
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / folder / name, directory)
    subprocess.run([tool("npm"), "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=directory, check=True, timeout=600)
    return directory / "node_modules"


@contextlib.contextmanager
def pages(files):
    """The address of a server that has FILES: {path: (media type, bytes)}; 204 for whatever else a browser looks for."""
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            kind, body = files.get(self.path, ("text/plain", b""))
            self.send_response(200 if self.path in files else 204)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
