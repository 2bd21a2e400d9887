"""What the client of the figures reads of a watch."""

from __future__ import annotations

from benchmarks.load import sequence

EVENTS = b"".join(
    b'{"type":"MODIFIED","object":{"metadata":{"labels":{"sequence":"%08d"}},"x":"%b"}}\n'
    % (number, b"y" * 60)
    for number in range(4)
)


def test_the_latest_event_is_found_wherever_reads_part_the_stream():
    """The last label may stand in the last piece but one, or in both: a run that misses it waits
    until the server hangs up on connections that ask nothing any more.
    """
    for first in range(len(EVENTS)):
        for second in range(first, len(EVENTS), 17):
            tail, latest = b"", -1
            for piece in (EVENTS[:first], EVENTS[first:second], EVENTS[second:]):
                found, tail = sequence(tail + piece)
                latest = max(latest, found)
            assert latest == 3, (first, second)
