#!/usr/bin/env python3
"""Keys are rotated under load: tests/torture/rotation.py [MINUTES [ROTATIONS]]

ROTATIONS (default: 3) of the HTTP server's and the storage server's keys within MINUTES (default: 10) while a file is read over HTTP
without a pause. Prints how many reads there were; ends with 1 where one failed. REEL_BUILD names the build (build/asan)."""
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))

import wire  # noqa: E402
from identity import SecureSuite, rotate  # noqa: E402
from suite import APP, USER, new_id  # noqa: E402

minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 10
turns = int(sys.argv[2]) if len(sys.argv) > 2 else 3
suite = SecureSuite()
try:
    suite.start()
    content, file_id = os.urandom(20000), new_id()
    with suite.connect("tracker", "app") as client:
        assert client.call(wire.SADDRS, wire.file_key(APP, USER, file_id)).ok
    with suite.connect("storage", "app") as client:
        assert client.put(APP, USER, file_id, content).ok
    done, failed = rotate(suite, file_id, content, turns=turns, seconds=minutes * 60)
    print(f"{done} reads, {len(failed)} failed, {turns} rotations within {minutes:g} minutes")
    print("\n".join(failed[:10]))
    sys.exit(bool(failed))
finally:
    suite.stop()
