"""The rooms as services of a real container engine, seen from outside.

Skipped where no engine answers. A few of the ways to harm a service by default, drawn anew with
every run (``PODWIRE_CHAOS_SEED`` repeats one); ``PODWIRE_SWEEP=1`` tries all of them.
"""

import datetime as dt
import json
import os
import random
import shutil
import signal

import dns.message
import dns.query
import pytest

from tests.clients import outside
from tests.conftest import SWEEP
from tests.system.compose import BIN, OWNER, ROOMS, ROOT, WAYS, Project, why_not
from tests.waiting import until

WHY_NOT = why_not()
pytestmark = pytest.mark.skipif(bool(WHY_NOT), reason=WHY_NOT or "the engine is there")

SEED = (
    os.environ.get("PODWIRE_CHAOS_SEED")
    or os.environ.get("PYTEST_XDIST_TESTRUNUID")  # workers have to draw the same
    or f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S}"
)
ALL_HARM = [(room, way) for way in WAYS for room in ROOMS]
HARM = ALL_HARM if SWEEP else random.Random(SEED).sample(ALL_HARM, 3)  # noqa: S311  a rotation
LEASE_S = 15 + 15
"""A room's Lease, and as much again for a peer that is silent before it is taken for gone."""
BACK_S = 60
FATES = ("DELIVERED", "DENIED_IN", "DELIVERED", "backend")


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """Built from what git knows of the checkout, up, and taken away whatever happens."""
    found = Project(tmp_path_factory.mktemp("compose"))
    found.build()
    try:
        found.up()
        yield found
    finally:
        found.end()


@pytest.fixture(scope="session")
def toured(project):
    """The project once the demo was given on it: the article is there and its pods are Ready."""
    told = project.run(
        str(BIN / "python"), str(ROOT / "examples/demo.py"), "--kubeconfig",
        str(project.kubeconfig), timeout=240,
    ).stdout  # fmt: skip
    assert "All as it should be." in told
    return project


def state(project):
    """Every object that people make, by uid, and the revision of the store."""
    kinds = "deployments,services,configmaps,ingresses,networkpolicies,namespaces,statefulsets"
    listed = json.loads(project.kubectl("get", kinds, "-A", "-o", "json"))["items"]
    pods = json.loads(project.kubectl("get", "--raw", "/api/v1/pods?limit=1"))
    uids = {item["metadata"]["uid"]: item["metadata"]["name"] for item in listed}
    return uids, int(pods["metadata"]["resourceVersion"])


def well_again(project):
    """Every room Ready and every fate as before; tells what is not."""
    project.all_ready()
    fates = project.fates()
    assert fates == FATES
    return True


def test_the_kubeconfig_is_dropped_for_the_owner_of_the_folder_alone(project):
    """Mode 0600, not root's, and kubectl works with it."""
    found = project.kubeconfig.stat()
    assert found.st_mode & 0o777 == 0o600
    assert found.st_uid == (OWNER if os.geteuid() == 0 else os.geteuid())
    assert sorted(path.name for path in project.kubeconfig.parent.iterdir()) == [
        ".gitignore",
        "kubeconfig",
    ]
    lines = project.kubectl("get", "nodes", "--no-headers").splitlines()
    assert [line.split()[:2] for line in lines] == [[f"node-{i}", "Ready"] for i in (1, 2, 3)]


def test_every_service_is_kept_small_and_its_doors_are_on_the_loopback(project):
    """No root, nothing writable but what it needs, no capabilities, bounded; loopback ports."""
    for service in ROOMS:
        found = project.inspect(service)
        host = found["HostConfig"]
        assert found["Config"]["User"] == "10001:10001", service
        assert host["ReadonlyRootfs"], service
        assert host["CapDrop"] == ["ALL"], service
        assert not host["CapAdd"], service
        assert "no-new-privileges:true" in host["SecurityOpt"], service
        assert 0 < host["Memory"] <= 1 << 30, service
        assert 0 < host["PidsLimit"] <= 128, service
        for bindings in (host["PortBindings"] or {}).values():
            assert {binding["HostIp"] for binding in bindings} == {"127.0.0.1"}, service
        writable = [m["Destination"] for m in found["Mounts"] if m["RW"]]
        assert writable == (["/var/lib/etcd-data"] if service == "etcd" else []), service
    once = project.inspect("certs")
    assert once["State"]["ExitCode"] == 0
    assert not once["State"]["Running"]
    assert once["HostConfig"]["CapDrop"] == ["ALL"]
    assert sorted(once["HostConfig"]["CapAdd"]) == ["CHOWN", "DAC_OVERRIDE"]
    assert once["HostConfig"]["NetworkMode"] == "none"


def test_every_healthcheck_says_healthy(project):
    """The engine's view of the rooms agrees with podwire's own."""

    def healthy():
        found = {s: project.inspect(s)["State"]["Health"]["Status"] for s in ROOMS}
        assert set(found.values()) == {"healthy"}, found
        return True

    until("every container healthy", healthy, 60)


AUTHORITIES = ("ca.key", "admin.key", "front-proxy-ca.key")


def test_keys_are_their_owners_alone(project):
    """Keys are the rooms' user's; the authorities' and the administrator's no room can read."""
    listed = project.docker(
        "exec", project.container("scheduler"), "find", "/etc/podwire/pki", "-name", "*.key",
        "-printf", "%m %u %f\\n",
    ).splitlines()  # fmt: skip
    assert len(listed) > len(ROOMS)
    for line in listed:
        mode, user, name = line.split()
        assert mode == "600", name
        assert user == ("root" if name in AUTHORITIES else "podwire"), name


def test_the_demo_passes(toured):
    """The same tour as ``make demo``, on services."""
    assert toured.fates() == FATES


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_comes_in_by_the_ingress_and_by_a_node_port(toured):
    """Real requests to the published doors walk the modelled network."""
    url = f"https://app.example.com:{toured.ports['HTTPS']}/"
    resolve = f"app.example.com:{toured.ports['HTTPS']}:127.0.0.1"
    curl = ("curl", "-sk", "-m", "10", "-w", "\n%{http_code}")

    def served():
        answer = toured.run(*curl, "--resolve", resolve, url, code=None).stdout
        assert answer.endswith("\n200"), answer
        return answer

    until("the Ingress answers", served, 30)
    toured.kubectl("expose", "deployment", "backend", "--name=door", "--type=NodePort",
                   "--port=80", "--target-port=8080")  # fmt: skip

    def published():
        shown = json.loads(toured.podwire("get", "endpoints", "-o", "json"))["nodePorts"]
        return [e["address"] for e in shown if e["service"] == "default/door" and e["address"]]

    (address,) = until("the NodePort is published", published, 30)
    assert int(address.rpartition(":")[2]) in toured.node_ports
    assert toured.run("curl", "-s", "-m", "10", f"http://{address}/hostname").stdout.startswith(
        "backend-"
    )


def test_a_process_of_this_machine_is_attached_to_a_service(toured):
    """Containers know the machine under them by a name."""
    curl = ("exec", "deploy/frontend", "--", "curl", "-sS", "-m", "5", "http://outside/")
    toured.kubectl("create", "service", "clusterip", "outside", "--tcp=80:80")
    with outside.server("0.0.0.0") as port:
        toured.podwire("attach", "--detach", "svc/outside", f"host.docker.internal:{port}")
        until("reached", lambda: toured.kubectl(*curl) == outside.TEXT)
    toured.podwire("detach", "svc/outside")
    toured.kubectl("delete", "service", "outside")


@pytest.mark.parametrize("ask", [dns.query.udp, dns.query.tcp])
def test_a_dns_client_is_answered_at_the_published_port(toured, ask):
    """The question walks to CoreDNS and the answer names the Service's address."""
    question = dns.message.make_query("backend.default.svc.cluster.local", "A")
    answer = ask(question, "127.0.0.1", port=toured.ports["DNS"], timeout=10)
    (found,) = answer.answer
    address = toured.kubectl("get", "svc", "backend", "-o", "jsonpath={.spec.clusterIP}")
    assert [record.address for record in found] == [address]


@pytest.mark.parametrize(("service", "way"), HARM, ids=[f"{s}-{w}" for s, w in HARM])
def test_a_service_that_is_away_is_seen_and_comes_back(toured, service, way):
    """``podwire get components`` tells; once it is back, every packet has its earlier fate."""
    until("well before", lambda: well_again(toured), BACK_S)
    toured.harm(service, way)
    try:
        until(f"{service} is told", lambda: toured.harmed(service), LEASE_S)
    finally:
        toured.mend(service, way)
    until(f"well after {service} was back (seed {SEED})", lambda: well_again(toured), BACK_S)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to kill a process of a container")
def test_a_process_that_dies_is_started_anew_by_the_engine(toured):
    """Nobody else need do anything."""
    before = toured.inspect("controllers")
    os.kill(before["State"]["Pid"], signal.SIGKILL)
    until("started anew", lambda: toured.inspect("controllers")["RestartCount"] > 0, 30)
    until("well after it", lambda: well_again(toured), BACK_S)


@pytest.mark.parametrize("service", ["etcd", "apiserver"])
def test_a_restart_of_what_keeps_the_objects_loses_nothing(toured, service):
    """Objects are the same ones, and resourceVersion never goes back."""
    before, revision = state(toured)
    toured.compose("restart", "-t", "5", service)
    until("well after it", lambda: well_again(toured), BACK_S)
    after, later = state(toured)
    assert after == before
    assert later >= revision


def test_down_and_up_again_goes_on_where_it_was(toured):
    """Without -v the volumes stay: the same objects, revisions, credentials."""
    before, revision = state(toured)
    kubeconfig = toured.kubeconfig.read_bytes()
    toured.compose("down")
    toured.up()
    until("well after it", lambda: well_again(toured), BACK_S)
    after, later = state(toured)
    assert after == before
    assert later >= revision
    assert toured.kubeconfig.read_bytes() == kubeconfig
