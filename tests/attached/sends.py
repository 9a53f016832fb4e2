"""Sends a task by its name, and prints its id, as JSON."""

from __future__ import annotations

import json
import os
import sys

import shop

if os.environ.get("ZENITH_URL"):
    import zenith_worker

    zenith_worker.attach(shop.app)
json.dump(shop.app.tasks[sys.argv[1]].delay().id, sys.stdout)
