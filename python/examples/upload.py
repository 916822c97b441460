#!/usr/bin/env python3
"""Stores files and prints their links: upload.py TRACKERS USER HTTP_BASE FILE..."""
import sys

import reel

trackers, user, base, *files = sys.argv[1:]
with reel.Client(trackers, user=user) as client:
    for path in files:
        print(client.url(client.upload(path), base))
