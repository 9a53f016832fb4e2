"""Gives a program a clock that is wrong: Python imports this first if it is on its path."""

import os
import time

_right = time.time
time.time = lambda: _right() + float(os.environ["CLOCK_AHEAD"])
