"""Policy verdicts computed from objects alone.

Pure, and ignorant of the dataplane: an independent road to a verdict, so that each can check
the other.
"""
