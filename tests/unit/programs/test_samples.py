"""The servers of Kubernetes' tutorials and tasks, held against what those pages print."""

from __future__ import annotations

import re

import pytest

from podwire.kubelet.files import Change, Layer
from podwire.kubelet.grpcprobe import grpc_check
from podwire.kubelet.programs.perl import pi
from podwire.kubelet.programs.registry import image_of
from podwire.kubelet.programs.rootfs import files
from tests.unit.programs.fakes import FakeProcess, spec
from tests.unit.programs.test_programs import World, story

PI_50 = "14159265358979323846264338327950288419716939937510"
ROWS = [
    (
        "registry.k8s.io/echoserver:1.4", 8080,
        (r"CLIENT VALUES:\nclient_address=10.244.1.9\ncommand=GET\nreal path=/a\?b=c\nquery=b=c\n"
        r"request_version=1.1\nrequest_uri=http://web:8080/a\?b=c\n\nSERVER VALUES:\n"
        r"server_version=nginx: 1.10.0 - lua: 10001\n\nHEADERS RECEIVED:\n.*host=web\n"
        r".*BODY:\n-no body in request-"),
    ),
    (
        "registry.k8s.io/echoserver:1.10", 8080,
        (r"\n\nHostname: web-1\n\nPod Information:\n\t-no pod information available-\n\n.*"
        r"Request Information:\n\tclient_address=10.244.1.9\n\tmethod=GET\n.*\thost=web\n.*"),
    ),
    (
        "gcr.io/google-samples/kubernetes-bootcamp:v2", 8080,
        r"Hello Kubernetes bootcamp! \| Running on: web-1 \| v=2\n",
    ),
    (
        "us-docker.pkg.dev/google-samples/containers/gke/hello-app:2.0", 8080,
        r"Hello, world!\nVersion: 2.0.0\nHostname: web-1\n",
    ),
    ("gcr.io/google-samples/node-hello:1.0", 8080, "Hello Kubernetes!"),
    (
        "kicbase/echo-server:1.0", 8080,
        r"Request served by web-1\n\nHTTP/1.1 GET /a\?b=c\n\nHost: web\n.*",
    ),
    ("registry.k8s.io/hpa-example", 80, "OK!"),
    ("registry.k8s.io/serve_hostname", 9376, "web-1"),
    ("registry.k8s.io/nginx-slim:0.24", 80, r".*404 Not Found.*nginx.*"),
    ("wbitt/network-multitool", 80, r"WBITT Network MultiTool .* - web-1 - 10.244.1.5 - HTTP.*"),
]  # fmt: skip


@pytest.mark.parametrize(("image", "port", "pattern"), ROWS, ids=[row[0] for row in ROWS])
def test_a_sample_answers_as_the_page_that_deploys_it_shows(
    image: str, port: int, pattern: str
) -> None:
    """No containerPort is needed: these images know where they listen."""

    async def body(world: World) -> None:
        await world.start(image)
        told = (await world.get("/a?b=c", port)).body.decode()
        assert re.fullmatch(pattern, told, re.DOTALL), told

    story(body)


def test_etcd_passes_the_grpc_probe_of_the_probes_task() -> None:
    """``grpc: {port: 2379}``: the overall health is SERVING."""

    async def body(world: World) -> None:
        argv = ("/usr/local/bin/etcd", "--listen-client-urls", "http://0.0.0.0:2379")
        await world.start("registry.k8s.io/etcd:3.5.1-0", *argv)
        world.net.add("node-1", "", "192.168.0.11")
        probe = (world.net, world.env.clock, "node-1", "10.244.1.5", 2379)
        assert await grpc_check(*probe, "", 1) == (True, "")
        assert not (await grpc_check(*probe, "other", 1))[0]

    story(body)


def test_the_first_job_of_the_pages_prints_pi() -> None:
    """``perl -Mbignum=bpi -wle 'print bpi(2000)'``; other programs say that they are not known."""

    async def body(world: World) -> None:
        argv = ("perl", "-Mbignum=bpi", "-wle", "print bpi(20)")
        process, container = await world.start("perl:5.34.0", *argv)
        assert await container.wait() == 0
        assert process.lines == ["3.1415926535897932385"]
        process, container = await world.start("perl", "perl", "-e", "print 1", ip="10.244.1.6")
        assert await container.wait() == 2
        assert process.errors == ["perl: not modelled: any program but print bpi(N)"]

    story(body)
    assert [pi(1), pi(2), pi(5)] == ["3", "3.1", "3.1416"]
    assert (len(pi(2000)), pi(2000)[:52]) == (2001, f"3.{PI_50}"[:52])


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("debian:12", 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"'),
        ("nginx:1.29", 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"'),
        ("nginx:1.29-alpine", 'PRETTY_NAME="Alpine Linux v3.22"'),
        ("ubuntu", 'PRETTY_NAME="Ubuntu 24.04 LTS"'),
        ("alpine:3.20", 'PRETTY_NAME="Alpine Linux v3.20"'),
        ("busybox", ""),
    ],
)
def test_an_image_tells_its_distribution(image: str, name: str) -> None:
    """``cat /etc/os-release``; what has no such file has none here."""
    told = files(image_of(image), image).get("/etc/os-release", b"").decode()
    assert name in told.splitlines() or told == name


def test_a_layer_covers_the_files_of_its_image() -> None:
    """Written over, removed, written again; the image's own files stay as they are."""

    async def body(_world: World) -> None:
        image = {"/etc/x": b"old", "/etc/y": b"y"}
        layer = Layer(image)
        assert [layer.read("/etc/x"), sorted(layer.list())] == [b"old", ["/etc/x", "/etc/y"]]
        await layer.write("/etc/x", b"new")
        await layer.remove("/etc/y")
        assert [layer.read("/etc/x"), sorted(layer.list())] == [b"new", ["/etc/", "/etc/x"]]
        with pytest.raises(FileNotFoundError):
            layer.read("/etc/y")
        await layer.remove("/etc/x")
        assert image == {"/etc/x": b"old", "/etc/y": b"y"}
        await layer.write("/etc/y", b"again")
        assert (layer.read("/etc/y"), "/etc/x" in layer.list()) == (b"again", False)

    story(body)


@pytest.mark.parametrize(
    ("image", "argv", "why"),
    [
        ("debian", ("bash", "-ec", "select x in a; do :; done"), "bash: not modelled: select"),
        ("debian", ("/bin/bash", "/run.sh"), "bash: not modelled: coproc"),
        ("debian", ("/run.sh",), "bash: not modelled: coproc"),
        ("debian", ("sh", "-c", "echo ("), ""),
        ("debian", ("bash", "-c", "echo fine"), ""),
        ("mycorp/api", ("bash", "-c", "select x in a; do :; done"), ""),
    ],
)
def test_a_known_shell_objects_to_a_script_that_it_cannot_run(
    image: str, argv: tuple[str, ...], why: str
) -> None:
    """What is merely wrong fails as in life; nobody's image is never asked."""

    async def body(world: World) -> None:
        files = {"/run.sh": b"#!/bin/bash\necho on\ncoproc cat\n"}
        process = FakeProcess(world.net, spec(image, *argv), files)
        process.files.change("/run.sh", Change(mode=0o755))
        assert world.host.objection(process) == why

    story(body)
