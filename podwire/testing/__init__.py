"""The pytest plugin and its fixtures: for users' tests as for our own.

Calls sim; heavy imports stay inside fixtures.
"""

from __future__ import annotations

from podwire.testing.programs import load_programs, program, programs_from

__all__ = ["load_programs", "program", "programs_from"]
