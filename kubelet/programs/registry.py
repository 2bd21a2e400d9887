"""The one ordered list of modelled images; the first that fits counts.

Before them come those that users registered: by ``register`` (``podwire.testing.program``), by the
entry point group ``podwire.programs``, whose entries are imported and register theirs, and by
YAML files that the variable PODWIRE_PROGRAMS names (``described.py``).
"""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import replace
from typing import Any

from podwire.client.hosting import repository
from podwire.client.resolver import MUSL
from podwire.kubelet.programs.image import NODE_IMAGE, Image
from podwire.kubelet.shell.tools import SERVER_TOOLS

_AGNHOST = Image(
    "agnhost", ("agnhost",), entrypoint=("/agnhost",), default=("pause",),
    programs={"agnhost": "agnhost"}, libc=MUSL, uid=0,
)  # fmt: skip
_NGINX = Image(
    "nginx", ("nginx", "nginx-slim"), entrypoint=("/docker-entrypoint.sh",),
    default=("nginx", "-g", "daemon off;"), tools=SERVER_TOOLS, uid=0,
    programs={"nginx": "nginx", "docker-entrypoint.sh": "nginx", "nginx-debug": "nginx"},
    stop_signal="SIGQUIT",
)  # fmt: skip

_DISTRIBUTIONS = (
    "debian", "ubuntu", "fedora", "rockylinux", "centos", "almalinux", "oraclelinux",
    "amazonlinux", "archlinux", "opensuse/leap", "buildpack-deps",
)  # fmt: skip
_SAMPLE = Image("sample", (), programs={}, tools=SERVER_TOOLS)


def _sample(program: str, *repositories: str, **more: Any) -> Image:
    """A server of Kubernetes' pages (``samples.py``)."""
    image = replace(_SAMPLE, name=program, repositories=repositories, default=(program,))
    return replace(image, programs={program: "samples"}, **more)


IMAGES: tuple[Image, ...] = (
    replace(
        _AGNHOST, repositories=("serve_hostname",), entrypoint=("/agnhost", "serve-hostname"),
        default=(),
    ),
    _sample("echoserver", "echoserver", stop_signal="SIGQUIT"),
    _sample("bootcamp", "kubernetes-bootcamp"),
    _sample("hello-app", "hello-app", tools=()),
    _sample("node-hello", "node-hello"),
    _sample("echo-server", "jmalloc/echo-server", "kicbase/echo-server", tools=()),
    _sample("php-apache", "hpa-example", stop_signal="SIGWINCH"),
    _sample("multitool", "network-multitool", tools=None, libc=MUSL, uid=0),
    Image("etcd", ("etcd",), default=("etcd",), programs={"etcd": "etcd"}, tools=()),
    Image(
        "perl", ("perl",), default=("perl",), programs={"perl": "perl"}, tools=SERVER_TOOLS, uid=0
    ),
    _AGNHOST,
    replace(_NGINX, repositories=("nginx-unprivileged",), uid=101),
    _NGINX,
    Image(
        "http-echo", ("hashicorp/http-echo",), entrypoint=("/http-echo",),
        programs={"http-echo": "http_echo"}, tools=(),
    ),
    Image(
        "whoami", ("traefik/whoami", "containous/whoami"), entrypoint=("/whoami",),
        programs={"whoami": "whoami"}, tools=(),
    ),
    Image(
        "metrics-server", ("metrics-server/metrics-server",), entrypoint=("/metrics-server",),
        programs={"metrics-server": "metrics_server"}, tools=(),
    ),
    Image(
        "echo-basic", ("echo-basic", "gateway-api/echo-basic"), entrypoint=("/echo-basic",),
        programs={"echo-basic": "echo_basic"}, tools=(),
    ),
    Image(
        "httpd", ("httpd",), default=("httpd-foreground",),
        programs={"httpd-foreground": "httpd", "httpd": "httpd"}, tools=SERVER_TOOLS,
        stop_signal="SIGWINCH",
    ),
    Image(
        "httpbin", ("kennethreitz/httpbin", "mccutchen/go-httpbin", "httpbin"),
        default=("httpbin",), programs={"httpbin": "httpbin", "gunicorn": "httpbin"},
        tools=SERVER_TOOLS,
    ),
    Image(
        "podinfo", ("stefanprodan/podinfo",), default=("./podinfo",),
        programs={"podinfo": "podinfo"}, libc=MUSL, busybox=True,
    ),
    Image(
        "redis", ("redis", "valkey/valkey", "gb-redis-follower"),
        entrypoint=("docker-entrypoint.sh",), default=("redis-server",),
        programs={"redis-server": "redis", "docker-entrypoint.sh": "redis"}, tools=SERVER_TOOLS,
    ),
    Image(
        "postgres", ("postgres",), entrypoint=("docker-entrypoint.sh",), default=("postgres",),
        programs={"postgres": "postgres", "docker-entrypoint.sh": "postgres"}, tools=SERVER_TOOLS,
        stop_signal="SIGINT",
    ),
    Image("iperf3", ("networkstatic/iperf3", "mlabbe/iperf3", "iperf3"), entrypoint=("iperf3",)),
    Image("pause", ("pause",), entrypoint=("/pause",), programs={"pause": "pause"}, tools=()),
    Image("coredns", ("coredns/coredns", "coredns"), tools=()),
    Image("kube-proxy", ("kube-proxy",)),
    Image("busybox", ("busybox", "busyboxplus"), default=("sh",), busybox=True, uid=0),
    Image("bash", ("bash",), default=("bash",), libc=MUSL, busybox=True, uid=0),
    Image("alpine", ("alpine", "frrouting/frr"), default=("/bin/sh",), libc=MUSL, busybox=True),
    Image("netshoot", ("netshoot",), default=("zsh",), libc=MUSL, uid=0),
    Image("curl", ("curlimages/curl", "curl/curl"), entrypoint=("curl",), libc=MUSL, busybox=True),
    Image("dnsutils", ("dnsutils", "jessie-dnsutils"), default=("sleep", "3600")),
    Image("node", (NODE_IMAGE,), default=("bash",), uid=0, node=True),
    Image("debian", _DISTRIBUTIONS, default=("bash",), uid=0),
)  # fmt: skip

GENERIC = Image("generic", (), programs={"podwire-generic": "generic"}, generic=True)
"""Every other image."""

_found: dict[str, Image] = {}
_users: list[Image] = []
_discovered: list[str] = []
ENTRY_POINTS = "podwire.programs"
FILES = "PODWIRE_PROGRAMS"


def register(image: Image) -> None:
    """Model an image of the user's own; the latest that fits counts, before podwire's."""
    _users.insert(0, image)
    _found.clear()


def unregister(image: Image) -> None:
    """Forget an image that was registered. Raises ValueError when it was not."""
    _users.remove(image)
    _found.clear()


def _discover() -> None:
    """What the environment brings along, once. Raises whatever its code raises: better no cluster
    than one without its programs.
    """
    if _discovered:
        return
    _discovered.append("done")
    for entry in importlib.metadata.entry_points(group=ENTRY_POINTS):
        entry.load()
    paths = os.environ.get(FILES, "")
    if paths:
        from podwire.kubelet.programs import described  # noqa: PLC0415  pydantic, if asked for

        for image in described.images(paths.split(os.pathsep)):
            register(image)


def image_of(reference: str) -> Image:
    """What podwire knows of an image reference; GENERIC when nothing."""
    image = _found.get(reference)
    if image is None:
        image = _found[reference] = _find(reference)
    return image


def _find(reference: str) -> Image:
    _discover()
    name = repository(reference)
    for image in (*_users, *IMAGES):
        if any(name == end or name.endswith(f"/{end}") for end in image.repositories):
            tag = reference[len(name) :]
            return _on_alpine(image) if "alpine" in tag and not image.busybox else image
    return GENERIC


def _on_alpine(image: Image) -> Image:
    """An ``-alpine`` tag: the same program beside busybox and musl."""
    return replace(image, tools=None, libc=MUSL, busybox=True)


def command_line(image: Image, argv: tuple[str, ...], known: bool) -> tuple[str, ...]:
    """What process 1 runs. The container gave ``argv``; ``known`` tells whether its first word is
    a command of the image. A word that is neither known nor a path is an argument for the image's
    entrypoint: the container runtime's counter does not tell ``command`` from ``args``.
    """
    if not argv:
        return image.entrypoint + image.default
    if known or not image.entrypoint or argv[0].startswith("/"):
        return argv
    return image.entrypoint + argv
