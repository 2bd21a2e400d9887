"""kopf as it is (docs.kopf.dev): an operator with one handler of each sort, lamps.py."""

import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.clients import installed
from tests.clients.operators.street import HERE
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("operators")


@contextmanager
def operator(street, *options, name="operator", **env):
    """``kopf run`` of lamps.py for a namespace; ends with its process, which must end well."""
    command = [str(installed.python()), "-m", "kopf", "run", "-n", street.namespace, "--verbose"]
    surroundings = {k: v for k, v in street.env.items() if k != "PYTHONPATH"}
    with (street.folder / f"{name}.log").open("w") as log:
        running = subprocess.Popen(
            [*command, *options, str(HERE / "lamps.py")], cwd=street.folder,
            env={**surroundings, "NAMESPACE": street.namespace, **env}, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            yield running
        finally:
            running.terminate()
            running.wait(30)
    assert running.returncode == 0, street.log()


def test_every_sort_of_handler_is_called(street):
    """Create, retries, field, update, timer, daemon, index and delete, with progress in status."""
    with operator(street, "--standalone"):
        street.says("Client is configured")
        street.lamp("desk", watts=40, colour="red")
        street.shows("desk", ".status.retried.retries", "2")
        made = street.ask("get", "lamp", "desk", "-o", "jsonpath={.status.created.configmap}")
        assert street.ask("get", "cm", made, "-o", "jsonpath={.data.watts}") == "40"
        street.shows("desk", ".status.ticks", "3")
        street.says("desk burns")
        street.shows("desk", ".status.alike", "1")
        street.shows("desk", ".metadata.finalizers", '["podwire.example.com/lamp"]')
        until("the Event", lambda: "Lit" in street.ask("get", "events"))
        street.lamp("desk", watts=40, colour="blue")
        street.shows("desk", r".status['coloured/spec\.colour'].new", "blue")
        street.shows("desk", ".status.updated.changed", '["spec.colour"]')
        street.run("kubectl", "delete", "lamp", "desk", "--timeout=30s")
        street.says("desk is out")
        street.says("desk burns no more")
        until("the ConfigMap is collected", lambda: made not in street.ask("get", "cm"))


def test_a_lamp_made_while_no_operator_ran_is_taken_up(street):
    """What was applied before is created, and resumed by the next operator; nothing twice."""
    street.lamp("hall", watts=5)
    with operator(street, "--standalone", name="first"):
        street.shows("hall", ".status.retried.retries", "2")
    with operator(street, "--standalone", name="second"):
        street.shows("hall", ".status.resumed", "true")
        assert len(street.ask("get", "cm", "-o", "name").split()) == 2, "kube-root-ca.crt and one"
        street.run("kubectl", "delete", "lamp", "hall", "--timeout=30s")


def test_of_two_operators_the_one_with_priority_works(street):
    """The other pauses, tells so, and takes over when the first has gone."""
    street.run("kubectl", "apply", "-f-", stdin=PEERING)
    with operator(street, "--peering=lamps", "--priority=1", name="standby"):
        street.lamp("one")
        street.shows("one", ".status.retried.retries", "2")
        with operator(street, "--peering=lamps", "--priority=2", name="leader"):
            street.says("Pausing operations", among="standby.log")
            street.lamp("two")
            street.shows("two", ".status.retried.retries", "2")
            street.says("two] Creation is processed", among="leader.log")
        street.says("Resuming operations", among="standby.log")
        street.lamp("three")
        street.shows("three", ".status.retried.retries", "2")
        street.says("three] Creation is processed", among="standby.log")
        street.run("kubectl", "delete", "lamps", "--all", "--timeout=30s")
    assert "two] Creation" not in (street.folder / "standby.log").read_text()


PEERING = """
apiVersion: kopf.dev/v1
kind: KopfPeering
metadata: {name: lamps}
"""


def test_its_webhooks_judge_by_url(street, tls):
    """A mutation, a warning and a denial, each in the operator's words; dry runs ask it too."""
    with operator(street, "--standalone", TLS=str(tls)):
        judged(street)


def test_its_webhooks_judge_by_a_service_behind_which_it_is_attached(street, tls):
    """``podwire attach`` makes the operator's port the Service's endpoint."""
    street.run("kubectl", "create", "service", "clusterip", "lamps", "--tcp=443:443")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
    attach = (sys.executable, "-m", "podwire", "attach", "-n", street.namespace, "--detach")
    street.run(*attach, "svc/lamps", f"127.0.0.1:{port}")
    with operator(street, "--standalone", TLS=str(tls), SERVICE="lamps", PORT=port):
        judged(street)


def judged(street):
    """What each review of lamps.py says, as kubectl prints it."""
    street.until_denied()
    assert 'admission webhook "judged.lamps.podwire.example.com" denied' in street.lamp(
        "arc", watts=500
    )
    assert "Warning: that is warm" in street.lamp("warm", watts=80)
    street.shows("warm", ".spec.colour", "white")
    street.run("kubectl", "delete", "lamps", "--all", "--timeout=30s")
    street.run(
        "kubectl", "delete", "validatingwebhookconfiguration,mutatingwebhookconfiguration",
        "lamps.podwire.example.com",
    )  # fmt: skip
