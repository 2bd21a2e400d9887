"""Which scheduled moment of a CronJob is due, and when to look again (pure).

Source: kubernetes pkg/controller/cronjob/utils.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo

from podwire.api.cron import CronError, Schedule
from podwire.api.times import NS

LATE_NS = 100_000_000
"""Jobs are made this much after their moment, so that clocks may differ a little."""
MANY_MISSED = 100


@dataclass(frozen=True, slots=True)
class Clockwork:
    """A schedule in its time zone."""

    schedule: Schedule
    zone: tzinfo

    def next_ns(self, after_ns: int) -> int:
        """The moment behind another; 0 when there is none."""
        return self.schedule.next_ns(after_ns, self.zone) or 0

    def missed(self, since_ns: int, now_ns: int) -> tuple[int, int]:
        """(the latest moment since then that is due, how many there were); (0, 0) for none.

        The number is estimated from the first interval. Raises CronError for a schedule that
        never comes round, such as 31 February.
        """
        first_ns = self.next_ns(since_ns)
        second_ns = self.next_ns(first_ns)
        if now_ns < first_ns:
            return 0, 0
        if now_ns < second_ns:
            return first_ns, 0
        interval_ns = (second_ns - first_ns) // NS * NS
        if interval_ns < NS:
            raise CronError("time difference between two schedules is less than 1 second")
        count = (now_ns - first_ns) // NS * NS // interval_ns + 1
        latest_ns, moment_ns = 0, self.next_ns(first_ns + (count - 2) * interval_ns)
        while moment_ns and moment_ns <= now_ns:
            latest_ns, moment_ns = moment_ns, self.next_ns(moment_ns)
        return latest_ns, count

    def wait_s(self, since_ns: int, now_ns: int) -> float:
        """Seconds until the next moment is to be looked at."""
        try:
            latest_ns, count = self.missed(since_ns, now_ns)
        except CronError:
            latest_ns, count = now_ns, 0
        if not latest_ns:
            latest_ns = now_ns if count else since_ns
        return (self.next_ns(latest_ns) + LATE_NS - now_ns) / NS
