"""The one door for time and chance.

Clock, randomness, ids, logs and the two event loops (real, virtual) live here and nowhere else.
Everyone may call this room; it calls nobody.
"""
