"""ipvsadm: what it prints, what it refuses, restore whole or not at all."""

import pytest

from podwire.dataplane import commands as c
from podwire.dataplane.commands import CommandError
from podwire.dataplane.kernel import Kernel
from podwire.runtime.rng import SeededRng
from tests.unit.dataplane.ipvs_lab import A1, VIP, IpvsLab
from tests.unit.dataplane.lab import SECOND, udp

SERVERS = """\
-A -t 10.0.0.1:443 -s rr -p 10800
-a -t 10.0.0.1:443 -r 192.168.0.1:6443 -m -w 1
-A -u 10.0.0.10:53 -s wrr
-a -u 10.0.0.10:53 -r 10.244.0.3:53 -m -w 3
-a -u 10.0.0.10:53 -r 10.244.0.20:53 -m -w 1 -x 100 -y 50
-A -t 10.0.0.1:80 -s mh -b mh-fallback,mh-port
-a -t 10.0.0.1:80 -r 10.0.0.9:80 -g -w 7
-A --sctp-service 10.0.0.2:9 -s lc
-A -t [fd00::1]:80 -s rr -p 60 -M 64
-a -t [fd00::1]:80 -r [fd00::a]:8080 -m
-A -f 5 -s sh -p 300 -M 255.255.255.0
"""
LISTED = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  10.0.0.1:80 mh (mh-fallback,mh-port)
  -> 10.0.0.9:80                  Route   7      0          0
TCP  10.0.0.1:443 rr persistent 10800
  -> 192.168.0.1:6443             Masq    1      0          0
UDP  10.0.0.10:53 wrr
  -> 10.244.0.3:53                Masq    3      0          0
  -> 10.244.0.20:53               Masq    1      0          0
SCTP 10.0.0.2:9 lc
TCP  [fd00::1]:80 rr persistent 60 mask 64
  -> [fd00::a]:8080               Masq    1      0          0
FWM  5 sh persistent 300 mask 255.255.255.0
"""


@pytest.fixture
def kernel():
    made = Kernel("node-1", SeededRng(1, "ipvs"))
    made.execute(c.IpvsRestore(text=SERVERS), SECOND)
    return made


def tool(kernel, *argv, stdin="", now=SECOND):
    return kernel.tool("", ["ipvsadm", *argv], stdin, now)


def test_the_list_is_sorted_and_shaped_as_ipvsadm_prints_it(kernel):
    """Protocol, address, port; then marks. Columns are padded to their width."""
    out, err, code = tool(kernel, "-Ln")
    assert (err, code) == ("", 0)
    assert "\n".join(line.rstrip() for line in out.splitlines()) + "\n" == LISTED
    assert "  -> 192.168.0.1:6443             Masq    1      0          0         \n" in out


def test_save_prints_what_restore_reads(kernel):
    """-S of one kernel, -R on another: the same list."""
    saved = tool(kernel, "-Sn")[0]
    assert "-A -t 10.0.0.1:443 -s rr -p 10800\n" in saved
    assert "-a -u 10.0.0.10:53 -r 10.244.0.20:53 -m -w 1 -x 100 -y 50\n" in saved
    assert "-A -t 10.0.0.1:80 -s mh -b mh-fallback,mh-port\n" in saved
    other = Kernel("node-2", SeededRng(1, "ipvs"))
    assert tool(other, "-R", stdin=saved) == ("", "", 0)
    assert tool(other, "-Ln") == tool(kernel, "-Ln")
    assert tool(other, "-Sn")[0] == saved


@pytest.mark.parametrize(
    ("argv", "said", "code"),
    [
        ("-A -t 10.0.0.1:443 -s rr", "Service already exists", 255),
        ("-A -t 10.0.0.1:444 -s foo", "Scheduler or persistence engine not found", 255),
        ("-E -t 10.0.0.1:444 -s rr", "No such service", 255),
        ("-D -t 10.0.0.1:444", "No such service", 255),
        ("-Z -t 10.0.0.1:444", "No such service", 255),
        ("-a -t 10.0.0.1:444 -r 1.1.1.1:1 -m", "Service not defined", 255),
        ("-a -t 10.0.0.1:443 -r 192.168.0.1:6443 -m", "Destination already exists", 255),
        ("-e -t 10.0.0.1:443 -r 192.168.0.2:6443 -m", "No such destination", 255),
        ("-d -t 10.0.0.1:443 -r 192.168.0.2:6443", "No such destination", 255),
        ("-A -t 10.0.0.999:1", "illegal virtual server address[:port] specified", 2),
        ("-A -t 10.0.0.1:0 -s rr", "Zero port specified for non-persistent service", 2),
        ("-A -u 10.0.0.1:5 -s twos", "not modelled: scheduler twos", 255),
        ("--frob", "unknown option", 2),
        ("--set 1 2", "--set option requires 3 timeout values", 2),
    ],
)
def test_mistakes_are_refused_in_the_tools_words(kernel, argv, said, code):
    """And change nothing."""
    before = tool(kernel, "-Sn")
    out, err, got = tool(kernel, *argv.split())
    assert (out, got) == ("", code)
    assert err.startswith(said) or said in err
    assert tool(kernel, "-Sn") == before


def test_a_restore_is_carried_out_whole_or_not_at_all(kernel):
    """The second line fails, so the first did not happen."""
    before = kernel.state_hash()
    with pytest.raises(CommandError, match="ipvsadm: line 2: Service not defined"):
        kernel.execute(
            c.IpvsRestore(text="-A -t 1.1.1.1:1 -s rr\n-a -t 2.2.2.2:2 -r 3.3.3.3:3 -m\n"), SECOND
        )
    assert kernel.state_hash() == before


def test_services_and_servers_are_edited_and_deleted(kernel):
    """-E, -e, -d, -D, -C."""
    for argv in (
        "-E -t 10.0.0.1:443 -s wlc",
        "-e -u 10.0.0.10:53 -r 10.244.0.3:53 -m -w 0",
        "-d -u 10.0.0.10:53 -r 10.244.0.20:53",
        "-D -t 10.0.0.1:80",
    ):
        assert tool(kernel, *argv.split()) == ("", "", 0)
    out = tool(kernel, "-Ln")[0]
    assert "TCP  10.0.0.1:443 wlc\n" in out
    assert "10.244.0.3:53                Masq    0 " in out
    assert "10.244.0.20" not in out
    assert "10.0.0.1:80 " not in out
    assert tool(kernel, "-C") == ("", "", 0)
    assert tool(kernel, "-Sn") == ("", "", 0)


def test_one_service_is_listed_alone(kernel):
    """-Ln -t ADDRESS."""
    out = tool(kernel, "-Ln", "-t", "10.0.0.1:443")[0].splitlines()[3:]
    assert [line.split()[1] for line in out] == ["10.0.0.1:443", "192.168.0.1:6443"]


def test_timeouts_are_set_and_zero_leaves_one_alone(kernel):
    """--set TCP TCPFIN UDP."""
    assert tool(kernel, "-Ln", "--timeout")[0] == "Timeout (tcp tcpfin udp): 900 120 300\n"
    assert tool(kernel, "--set", "1000", "0", "30") == ("", "", 0)
    assert tool(kernel, "-Ln", "--timeout")[0] == "Timeout (tcp tcpfin udp): 1000 120 30\n"


def test_packets_and_rates_are_counted_until_zeroed():
    """--stats totals, --rate a quarter of the way to each two seconds' traffic; -Z."""
    lab = IpvsLab(proto="udp", servers=[A1])
    lab.now = 10 * SECOND
    for _ in range(100):
        lab.send("node-1", "b1", udp(VIP, 80, "10.244.1.3", size=100))
    stats = lab.ipvsadm("node-1", "-Ln", "--stats")
    assert stats.splitlines()[1:] == [
        "Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes",
        "  -> RemoteAddress:Port",
        "UDP  10.96.0.10:80                       1      100        0    10000        0",
        "  -> 10.244.1.2:8080                     1      100        0    10000        0",
    ]
    lab.now += 2 * SECOND
    rates = lab.ipvsadm("node-1", "-Ln", "--rate").splitlines()
    assert rates[1].split() == [
        "Prot",
        "LocalAddress:Port",
        "CPS",
        "InPPS",
        "OutPPS",
        "InBPS",
        "OutBPS",
    ]
    assert rates[3].split()[2:] == ["0", "12", "0", "1250", "0"]
    lab.now += 60 * SECOND
    assert lab.ipvsadm("node-1", "-Ln", "--rate").splitlines()[3].split()[2:4] == ["0", "0"]
    lab.ipvsadm("node-1", "-Z")
    assert lab.ipvsadm("node-1", "-Ln", "--stats").splitlines()[3].split()[2:] == ["0"] * 5


def test_large_numbers_are_shortened_unless_exact():
    """Eight digits, then K, M, G."""
    lab = IpvsLab(proto="udp", servers=[A1])
    made = lab.world.kernels["node-1"].netns("").ipvs.services
    next(iter(made.values())).stats.in_bytes = 123_456_789_012
    assert lab.ipvsadm("node-1", "-Ln", "--stats").splitlines()[3].split()[5] == "123G"
    exact = lab.ipvsadm("node-1", "-Ln", "--stats", "--exact").splitlines()[3]
    assert exact.split()[5] == "123456789012"


def test_thresholds_are_listed(kernel):
    """--thresholds."""
    out = tool(kernel, "-Ln", "--thresholds")[0]
    assert "10.244.0.20:53               100        50         0          0" in out


def test_a_fork_changes_its_own_servers_only(kernel):
    """Services are shared until one side writes."""
    before = kernel.state_hash()
    fork = kernel.fork()
    fork.execute(c.IpvsRestore(text="-e -u 10.0.0.10:53 -r 10.244.0.3:53 -m -w 9\n"), SECOND)
    assert kernel.state_hash() == before != fork.state_hash()
    assert "10.244.0.3:53                Masq    9 " in tool(fork, "-Ln")[0]
