"""``python -m podwire.cni``: this room as a process of its own."""

import sys

from podwire.sim.rooms.registry import main

sys.exit(main("cni"))
