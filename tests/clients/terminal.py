"""A terminal in which a client is typed at."""

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading

LIMIT_S = 60


class Terminal:
    """A command in a terminal of some columns and rows; it is killed after a minute."""

    def __init__(self, argv, env, columns=80, rows=24):
        self._near, far = pty.openpty()
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            argv, env=env, stdin=far, stdout=far, stderr=far, start_new_session=True
        )
        os.close(far)
        self.seen = ""

    def until(self, wanted):
        """Read until this was shown."""
        while wanted not in self.seen:
            self.seen += os.read(self._near, 4096).decode(errors="replace")

    def type(self, line):
        """Type a line."""
        os.write(self._near, line.encode() + b"\r")

    def close(self):
        """End the command, if it has not."""
        self.process.kill()
        self.process.wait()
        os.close(self._near)


@contextlib.contextmanager
def terminal(argv, env, **size):
    """A terminal while it is needed."""
    opened = Terminal(argv, env, **size)
    watchdog = threading.Timer(LIMIT_S, opened.process.kill)
    watchdog.start()
    try:
        yield opened
    finally:
        watchdog.cancel()
        opened.close()
