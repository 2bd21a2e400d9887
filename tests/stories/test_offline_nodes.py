"""An incident's dump on a laptop: captured by a script, loaded, traced, looked at. No cluster."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from podwire.cli.errors import Failure
from podwire.cli.main import podwire
from podwire.dataplane.dump.text import SECTIONS, read

NODES = Path(__file__).resolve().parents[1] / "data" / "nodes"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*argv, stdin=""):
    return CliRunner().invoke(podwire, argv, input=stdin, catch_exceptions=True)


def refused(*argv, stdin=""):
    result = run(*argv, stdin=stdin)
    assert isinstance(result.exception, Failure), result.output
    return str(result.exception), result.exception.code


def pieces(folder):
    """The dump of ``odd`` as the files that somebody saved one by one."""
    for part in (NODES / "odd.dump").read_text().split("==== podwire ")[2:]:
        name, _, text = part.partition("\n")
        (folder / f"{name}.txt").write_text(text)


def test_files_of_the_tools_become_one_file_that_is_traced_and_looked_at(here):
    """load node, trace -f with the deciding rule and its exit code, node exec -f."""
    pieces(here)
    done = run(
        "load", "node", "n1", "--iptables-save", "iptables-save.txt", "--nft", "nft.txt",
        "--ip-addr", "ip-addr.txt", "--ip-route", "ip-route.txt", "--ip-rule", "ip-rule.txt",
        "--ip-neigh", "ip-neigh.txt", "--bridge-fdb", "bridge-fdb.txt",
        "--ipset-save", "ipset-save.txt", "--sysctl", "sysctl.txt", "--ss", "ss.txt",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.output.splitlines()[0].split() == [
        "NODE", "FILE", "DEVICES", "ADDRESSES", "ROUTES", "IPTABLES", "NFT", "IPSETS", "IPVS",
        "FLOWS",
    ]  # fmt: skip
    assert (here / "n1.dump").exists()

    arrives = run("trace", "-f", "n1.dump", "10.1.2.3", "10.96.0.1:443", "--in", "eth0")
    assert arrives.exit_code == 0
    assert "dnat      to:10.0.0.7:6443" in arrives.output
    assert "✓ EXITS_CLUSTER at n1" in arrives.output
    denied = run("trace", "-f", "n1.dump", "10.244.1.4", "10.244.2.8:8083")
    assert denied.exit_code == 1
    assert "a rule on n1 rejects it: -A FORWARD -p tcp -m tcp --dport 8083" in " ".join(
        denied.output.split()
    )
    unknown = run("trace", "-f", "n1.dump", "10.244.1.4", "10.244.2.8:8081", "-o", "json")
    assert (unknown.exit_code, json.loads(unknown.output)["fate"]) == (4, "UNKNOWN")

    looked = run("node", "exec", "-f", "n1.dump", "n1", "--", "ip", "rule")
    assert looked.output.splitlines()[2] == "1024:\tfrom all fwmark 0x80/0x80 lookup main"
    saved = run("node", "exec", "-f", "n1.dump", "n1", "--", "iptables-save", "-t", "nat")
    assert "-j DNAT --to-destination 10.0.0.7:6443" in saved.output


def test_the_replay_line_walks_again(here):
    """As it stands under the table, but for the name of the program."""
    (here / "n1.dump").write_text((NODES / "odd.dump").read_text())
    first = run("trace", "-f", "n1.dump", "10.1.2.3", "10.96.0.1:443", "--in", "eth0")
    (line,) = [line for line in first.output.splitlines() if line.startswith("  replay")]
    words = line.split()[1:]
    assert words[0] == "podwire"
    assert run(*words[1:]).output == first.output


def test_the_scripts_output_is_a_file_for_trace(here):
    """load script is run by sh; what it prints loads, whatever tools there are."""
    script = run("load", "script").output
    sh = ["/bin/sh", "-s", "laptop"]
    done = subprocess.run(sh, input=script, text=True, capture_output=True, check=True)
    (found,) = read(done.stdout, "stdout")
    assert (found.name, set(found.sections) <= set(SECTIONS)) == ("laptop", True)
    text = (NODES / "odd.dump").read_text()
    loaded = run("load", "node", "n2", "--dump", "-", "-o", "yaml", stdin=text)
    assert loaded.exit_code == 0
    assert yaml.safe_load(loaded.stdout)["node"] == "n2"
    printed = run("load", "node", "n2", "--dump", "-", "--to", "-", stdin=text)
    assert printed.output == (here / "n2.dump").read_text()


def test_what_does_not_parse_is_refused_whole(here):
    """File, line, column, exit code 2; no file is written."""
    text = "*nat\n:X - [0:0]\n-A X -j MASQUERADE --bogus\nCOMMIT\n"
    (here / "rules.txt").write_text(text)
    words, code = refused("load", "node", "n1", "--iptables-save", "rules.txt")
    assert (words, code) == ('rules.txt:3:20: unknown option "--bogus"', 2)
    assert not (here / "n1.dump").exists()
    assert list(here.iterdir()) == [here / "rules.txt"]


@pytest.mark.parametrize(
    ("argv", "why"),
    [
        (("load", "node", "n1"), "nothing to load"),
        (("load", "node", "../n1", "--ss", "-"), "no name of a node"),
        (("load", "node", "n1", "--ss", "-", "--nft", "-"), "only one of the files"),
        (("load", "node", "n1", "--ss", "nowhere.txt"), "nowhere.txt: No such file"),
        (("trace", "-f", "n1.dump", "-f", "m.yaml", "a", "b:1"), "not both"),
        (("trace", "-f", "n1.dump", "web", "10.0.0.1:1"), "is no address"),
        (("trace", "-f", "m.yaml", "--in", "eth0", "a", "b:1"), "--in is for dumps"),
        (("node", "exec", "-f", "n1.dump", "n9", "--", "ip", "addr"), "no dump of node n9"),
        (("node", "exec", "-f", "m.yaml", "n9", "--", "ip", "addr"), "no dump is in it"),
    ],
)
def test_usage(here, argv, why):
    """Exit code 2 and words that help."""
    (here / "n1.dump").write_text((NODES / "odd.dump").read_text())
    (here / "m.yaml").write_text("kind: Namespace\napiVersion: v1\nmetadata: {name: x}\n")
    words, code = refused(*argv)
    assert code == 2
    assert why in words


def test_a_trace_through_a_dump_needs_no_room_of_a_cluster(here):
    """It starts at once: no API server, no simulation, no event loop is imported."""
    (here / "n1.dump").write_text((NODES / "odd.dump").read_text())
    code = (
        "import sys\nfrom podwire.cli.main import podwire\n"
        "try: podwire.main(['trace', '-f', 'n1.dump', 'node/odd', '10.96.0.1:443'])\n"
        "except SystemExit as done: assert done.code == 0\n"
        "heavy = {'podwire.sim', 'podwire.apiserver', 'podwire.fabric'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
