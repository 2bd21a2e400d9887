"""The one door for time and chance.

Clock, randomness, ids, logs and the two event loops (real, virtual) live here and nowhere else;
so do dates (``civil``) and the files that only their owner may read (``files``).
Everyone may call this room; it calls nobody.
"""
