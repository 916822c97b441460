#!/usr/bin/env python3
"""Fetches all files of a user that are not here yet: mirror.py TRACKERS USER DIRECTORY"""
import pathlib
import sys

import reel

with reel.Client(sys.argv[1], user=sys.argv[2], remark=lambda text: print(text, file=sys.stderr)) as client:
    for file in client.list():
        path = pathlib.Path(sys.argv[3]) / file.id
        if not path.exists():
            client.download(file.id, path, resume=True)
