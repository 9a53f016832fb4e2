"""The shop's app for those of its programs that only send, which attach themselves: beat, a web process."""

from shop import app

import zenith_worker

zenith_worker.attach(app)
