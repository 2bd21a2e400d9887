"""``python -m podwire.ingress``: this room as a process of its own."""

import sys

from podwire.sim.rooms.registry import main

sys.exit(main("ingress"))
