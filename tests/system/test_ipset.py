"""The model's ipset against the real one: the same commands, the same words.

Needs root, ipset 7.17 and a kernel with ip_set; skipped elsewhere.
"""

import os
import shutil
import subprocess

import pytest

from podwire.dataplane.kernel import Kernel
from podwire.runtime.rng import SeededRng
from tests.system.mirror import PREFIX, sh
from tests.unit.dataplane import ipset_sessions as sessions

NETNS = f"{PREFIX}ipset"


def able():
    """Whether the real tool can be asked here."""
    if os.name != "posix" or os.geteuid() != 0 or not shutil.which("ipset"):
        return False
    version = subprocess.run(["ipset", "--version"], capture_output=True, text=True, check=False)
    return version.stdout.startswith("ipset v7.17,")


pytestmark = pytest.mark.skipif(not able(), reason="needs root and ipset 7.17")


@pytest.fixture
def netns():
    """A network namespace of its own, removed afterwards."""
    sh("ip", "netns", "add", NETNS)
    yield NETNS
    sh("ip", "netns", "del", NETNS)


@pytest.mark.parametrize("name", ["words", "options", "icmp"])
def test_every_command_is_answered_in_the_real_tools_words(netns, name):
    """Output, errors and exit codes of create, add, del, test, list, save, restore, swap ..."""
    session = sessions.commands(name)
    answers = zip(
        session, sessions.model(session), sessions.real(session, netns, os.environ), strict=True
    )
    differing = [(" ".join(argv), ours, real) for (argv, _), ours, real in answers if ours != real]
    assert not differing, differing


def test_rules_that_name_sets_are_printed_as_iptables_prints_them(netns):
    """-m set and -j SET through iptables-restore and iptables-save; an unknown set is refused."""
    rules = (
        "-A INPUT -m set --match-set X src,dst -j ACCEPT\n"
        "-A INPUT -m set ! --match-set X dst -j ACCEPT\n"
        "-A INPUT -m set --match-set X src --return-nomatch ! --update-counters --packets-gt 4 "
        "! --bytes-eq 5 -j ACCEPT\n"
        "-A INPUT -j SET --add-set X src --exist --timeout 60\n"
        "-A INPUT -j SET --del-set X dst --add-set X src\n"
    )
    kernel = Kernel("node-1", SeededRng(1, "ipset"))

    def both(*argv, stdin=""):
        """What the model and the real tool print; neither complains."""
        out, err, code = kernel.tool("", list(argv), stdin, 0)
        assert (err, code) == ("", 0)
        return out, sh("ip", "netns", "exec", netns, *argv, stdin=stdin)

    both("ipset", "create", "X", "hash:ip", "timeout", "9")
    both("iptables-restore", "-n", stdin=f"*filter\n{rules}COMMIT\n")
    ours, real = both("iptables", "-S", "INPUT")
    assert ours == real
    ours, real = both("ipset", "list", "X", "-t")
    assert sessions.comparable(ours, 0) == sessions.comparable(real, 0)
