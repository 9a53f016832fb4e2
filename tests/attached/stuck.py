"""Sends tasks as an attached process does: the arguments are a JSON list of name, positional arguments and options of each."""

from __future__ import annotations

import json
import sys

from attached_shop import app

results = [app.send_task(name, args, **options) for name, args, options in json.loads(sys.argv[1])]
json.dump([result.id for result in results], sys.stdout)
