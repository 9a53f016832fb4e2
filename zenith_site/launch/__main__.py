"""`python -m zenith_site.launch OPTIONS`: what `manage.py up` becomes, with its options as JSON."""

import json
import os
import sys

from zenith_site.launch.run import main

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zenith_site.settings")
sys.exit(main(json.loads(sys.argv[1])))
