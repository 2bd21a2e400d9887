"""The model's ipset against the real one: the same commands, the same words.

Needs root, ipset 7.17 and a kernel with ip_set; skipped elsewhere.
"""

import os
import shutil
import subprocess

import pytest

from podwire.dataplane.kernel import Kernel
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane import ipset_sessions as sessions

NETNS = "pwipset"


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
    subprocess.run(["ip", "netns", "add", NETNS], check=True)
    try:
        yield NETNS
    finally:
        subprocess.run(["ip", "netns", "del", NETNS], check=True)


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
    text = f"*filter\n{rules}COMMIT\n"
    kernel = Kernel("node-1", SeededRng(1, "ipset"))
    inside = ["ip", "netns", "exec", netns]
    for argv in (["ipset", "create", "X", "hash:ip", "timeout", "9"], ["ipset", "list", "-t"]):
        subprocess.run([*inside, *argv], check=True, capture_output=True)
        kernel.tool("", argv, "", 0)
    subprocess.run([*inside, "iptables-restore", "-n"], input=text, text=True, check=True)
    assert kernel.tool("", ["iptables-restore", "-n"], text, 0) == ("", "", 0)
    show = ["iptables", "-S", "INPUT"]
    real = subprocess.run([*inside, *show], capture_output=True, text=True, check=True)
    assert kernel.tool("", show, "", 0)[0] == real.stdout
    references = subprocess.run(
        [*inside, "ipset", "list", "X", "-t"], capture_output=True, text=True, check=True
    )
    ours = kernel.tool("", ["ipset", "list", "X", "-t"], "", 0)
    assert sessions.comparable(ours[0], 0) == sessions.comparable(references.stdout, 0)
