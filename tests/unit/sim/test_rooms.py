"""What rooms that are processes do when the world around them is not as they left it."""

from __future__ import annotations

import errno

import pytest

from podwire.runtime import sim
from podwire.sim import outside
from podwire.sim.rooms.process import ListenError, listens


def test_a_port_that_the_fabric_has_not_taken_back_yet_is_waited_for():
    """A fabric that was not told of a loss has this server's old listener for some seconds."""

    class Sockets:
        def __init__(self, *errors):
            self.errors = list(errors)

        async def listen(self, *_):
            if self.errors:
                raise OSError(self.errors.pop(0), "taken")
            return "listener"

    async def main(env):
        taken = Sockets(errno.EADDRINUSE, errno.EADDRINUSE)
        assert await outside.reopen_control_plane(taken, env.clock) == "listener"
        assert env.clock.monotonic_ns() > 0
        with pytest.raises(OSError, match="taken"):
            await outside.reopen_control_plane(Sockets(errno.EINVAL), env.clock)

    sim.run(main, horizon_s=60)


def test_only_what_fails_to_listen_is_told_as_that():
    """Other failures keep their own words."""
    words = r"cannot listen on 127\.0\.0\.1:1: address already in use; .*another --listen"
    with pytest.raises(ListenError, match=words), listens("--listen", "127.0.0.1:1"):
        raise OSError(errno.EADDRINUSE, "in use")
