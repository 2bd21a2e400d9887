"""``trace -f --at``: the same packet, a moment after the manifests and later."""

from pathlib import Path

from click.testing import CliRunner

from podwire.cli.main import podwire

BACKEND = str(Path(__file__).resolve().parents[2] / "examples/article/backend.yaml")


def at(seconds):
    argv = ["trace", "-f", BACKEND, "node/node-1", "svc/backend:80", "--at", str(seconds)]
    return CliRunner().invoke(podwire, argv)


def test_a_service_is_not_there_at_once_and_is_soon():
    """At 0 s kube-proxy has no rules for it yet; after 20 s every branch arrives."""
    early, later = at(0), at(20)
    assert (early.exit_code, later.exit_code) == (1, 0)
    assert "see its kube-proxy" in " ".join(early.output.split())
    assert "--at 20" in later.output
