"""The surroundings of a command."""

from podwire.kubelet.programs.env import no_files, no_stdin


async def test_a_command_that_is_given_nothing_reads_an_ended_stdin_and_sees_no_files() -> None:
    """Defaults never block: stdin is at its end, the listing is empty."""
    assert await no_stdin() == b""
    assert list(no_files("/")) == []
