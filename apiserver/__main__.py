"""``python -m podwire.apiserver``: this room as a process of its own."""

import sys

from podwire.sim.rooms.registry import main

sys.exit(main("apiserver"))
