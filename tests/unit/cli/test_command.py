"""The command line itself: help, usage errors, exit codes, imports."""

import socket
import subprocess
import sys

import pytest
from click.testing import CliRunner

from podwire.cli import state
from podwire.cli.main import VERBS, podwire


def run(*argv, **env):
    """The command as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "podwire", *argv],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path), "HOME": "/nonexistent", **env},
    )


def test_help_lists_every_verb_without_importing_rooms():
    """--help answers from a table; no room, no aiohttp, no event loop is loaded."""
    code = (
        "import sys\nfrom podwire.cli.main import podwire\n"
        "podwire.main(['--help'], prog_name='podwire', standalone_mode=False)\n"
        "heavy = {'aiohttp', 'asyncio', 'msgspec', 'pydantic', 'structlog', 'yaml'}\n"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    for verb in VERBS:
        assert f"  {verb} " in done.stdout


@pytest.mark.parametrize("verb", list(VERBS))
def test_every_verb_has_help(verb):
    """Each verb (kubectl passes --help on) explains itself, most with an example."""
    if verb == "kubectl":
        return
    result = CliRunner().invoke(podwire, [verb, "--help"])
    assert result.exit_code == 0
    assert "Usage: podwire" in result.output


def test_usage_errors_exit_2():
    """Unknown verbs, options and values."""
    for argv in (("frobnicate",), ("up", "--frob"), ("trace", "pod/a"), ("up", "--nodes", "x")):
        assert run(*argv).returncode == 2


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (("up", "--cni", "cilium", "--detach"), "cni: 'cilium' is not modelled"),
        (("up", "--nodes", "0", "--detach"), "nodes: 0 is not between 1 and 1000"),
        (("up", "--name", "No Good"), "use lower case letters"),
        (("up", "--wait=soon", "--detach"), "use a duration such as 60s"),
    ],
)
def test_a_bad_choice_says_what_to_choose(tmp_path, argv, told):
    """Exit 2, one line, nothing is started."""
    done = run(*argv, XDG_STATE_HOME=str(tmp_path), HOME=str(tmp_path))
    assert done.returncode == 2
    assert told in done.stderr


def test_an_unreachable_cluster_exits_3(tmp_path):
    """The message says how to start one."""
    for argv in (("trace", "pod/a", "pod/b:1"), ("get", "components"), ("node", "exec", "n", "ip")):
        done = run(*argv, XDG_STATE_HOME=str(tmp_path))
        assert done.returncode == 3
        assert "podwire up --detach" in done.stderr


def test_down_without_a_cluster_is_no_error(tmp_path):
    """Twice is no error."""
    done = run("down", XDG_STATE_HOME=str(tmp_path), HOME=str(tmp_path))
    assert done.returncode == 0


def test_state_of_a_dead_process_counts_as_none(tmp_path, monkeypatch):
    """A cluster that was killed leaves a directory; it is not taken for a running one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    state.create("gone")
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    state.save(state.State("gone", process.pid, "https://127.0.0.1:1", "/x"))
    assert state.load("gone") is None
    assert state.names() == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell):
    """For each shell."""
    result = CliRunner().invoke(podwire, ["completion", shell])
    assert result.exit_code == 0
    assert "_PODWIRE_COMPLETE" in result.output


def test_a_taken_port_is_told_in_one_line(tmp_path):
    """Also by a detached cluster, whose directory is gone by then."""
    home = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for argv in (("up", "--port", port), ("up", "--port", port, "--detach")):
            done = run(*argv, **home)
            assert done.returncode == 1
            assert f"cannot listen on port {port}" in done.stderr
            assert "Traceback" not in done.stderr
    assert run("up", "--port", "99999", "--detach", **home).returncode == 2
    assert run("get", "clusters", **home).stdout == ""
