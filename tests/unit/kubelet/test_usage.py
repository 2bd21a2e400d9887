"""Modelled use of CPU and memory."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from podwire.api.views import Container, Pod
from podwire.kubelet import usage
from podwire.kubelet.usage import WINDOW_NS, Meter, Usage, used

MI = 1 << 20


def pod(image: str = "web:1", limits: dict[str, str] | None = None, **notes: str) -> Pod:
    """A pod of one container ``c``; ``notes`` are annotations with ``_`` for ``-``."""
    named = {f"podwire.dev/{k.replace('_', '-').replace('__', '.')}": v for k, v in notes.items()}
    container: dict[str, Any] = {"name": "c", "image": image, "resources": {"limits": limits or {}}}
    body = {"metadata": {"name": "p", "annotations": named}, "spec": {"containers": [container]}}
    return msgspec.convert(body, Pod)


def one(of: Pod) -> Container:
    return of.spec.containers[0]


@pytest.mark.parametrize(
    ("made", "messages", "found"),
    [
        (pod(), 0, Usage(1_000_000, 8 * MI)),
        (pod(), 1500, Usage(1_000_000 + 20_000_000, 8 * MI)),
        (pod("registry.k8s.io/hpa-example:1"), 300, Usage(1_001_000_000, 20 * MI)),
        (pod(cpu="250m", memory="1Gi"), 0, Usage(250_000_000, 1024 * MI)),
        (pod(cpu_per_request="15m"), 1000, Usage(1_001_000_000, 8 * MI)),
        (pod(cpu="2", limits={"cpu": "500m"}), 0, Usage(500_000_000, 8 * MI)),
        (pod(memory="1Gi", limits={"memory": "64Mi"}), 0, Usage(1_000_000, 64 * MI)),
        (pod(cpu="much"), 0, Usage(1_000_000, 8 * MI)),
        (pod(cpu="-1"), 0, Usage(1_000_000, 8 * MI)),
    ],
)
def test_use_is_what_is_steady_and_what_messages_cost(
    made: Pod, messages: int, found: Usage
) -> None:
    """Never above a limit; nonsense is not heeded."""
    assert used(made, one(made), messages) == found


def test_an_annotation_may_be_for_one_container():
    """It comes before the one for all."""
    body = {"podwire.dev/cpu": "100m", "podwire.dev/cpu.c": "300m"}
    made = msgspec.convert(
        {"metadata": {"annotations": body}, "spec": {"containers": [{"name": "c"}, {"name": "d"}]}},
        Pod,
    )
    assert [used(made, c, 0).cpu_nano // 10**6 for c in made.spec.containers] == [300, 100]


def test_complaints_name_the_annotation():
    """And only ours."""
    assert usage.complaints(pod(cpu="much", memory="1Gi"))[0].startswith(
        'annotation podwire.dev/cpu: "much": quantities must match'
    )
    assert usage.complaints(pod(kubelet_endpoint="x:1")) == []


def test_a_meter_tells_the_last_whole_window():
    """Messages of this one count when it is over, and are forgotten after the next."""
    meter = Meter()
    for _ in range(3):
        meter.message(5 * WINDOW_NS + 1)
    assert meter.last_window(6 * WINDOW_NS - 1) == 0
    assert meter.last_window(6 * WINDOW_NS) == 3
    assert meter.last_window(7 * WINDOW_NS) == 0


@pytest.mark.parametrize(
    ("wanted", "limit", "killed"),
    [("250Mi", "100Mi", True), ("100Mi", "100Mi", False), ("250Mi", "", False), ("", "4Mi", False)],
)
def test_who_wants_more_memory_than_its_limit_starves(wanted, limit, killed):
    """Unless nothing is known of its appetite, or it has no limit."""
    made = pod(limits={"memory": limit} if limit else {}, **({"memory": wanted} if wanted else {}))
    assert usage.starves(made, one(made)) is killed


@pytest.mark.parametrize(
    ("args", "mebibytes"),
    [
        (["--vm", "1", "--vm-bytes", "250M", "--vm-hang", "1"], 250),
        (["--vm", "2", "--vm-bytes", "1G"], 2048),
        (["--cpu", "1"], 8),
        (["--vm-bytes", "lots"], 8),
    ],
)
def test_stress_takes_what_it_is_told(args, mebibytes):
    """The image of the documentation's memory demo."""
    container = Container(name="c", image="polinux/stress", command=["stress"], args=args)
    assert used(Pod(), container, 0).memory_bytes == mebibytes * MI
