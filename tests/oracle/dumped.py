"""Dumps of Linux: what the tools print of a random cluster's hosts is loaded, and traces through
the loaded kernels are held against what Linux answered to the same questions.

``python -m tests.oracle.dumped --seeds 20`` (root); ``--keep DIR`` writes the dumps there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from podwire.dataplane.dump.load import Loaded, load
from podwire.dataplane.dump.text import Dump, read, script
from podwire.dataplane.verdict import Branch, Fate
from podwire.explain.dumps import PlaceError, walk
from podwire.explain.report import DEFAULT_SIZE_BYTES, TraceSpec
from podwire.runtime.rng import SeededRng
from tests.oracle.cluster import (
    CLIENT,
    GATEWAY,
    TCP_PORTS,
    UDP_PORTS,
    Cluster,
    Probe,
    Survey,
    node_name,
)
from tests.oracle.generate import generate
from tests.oracle.linux import environment, leave_host
from tests.oracle.proxying import MODES
from tests.oracle.run import against_linux

HEADERS = {"udp": 28, "tcp": 40}


def hosts(cluster: Cluster) -> list[str]:
    """The machines of a cluster."""
    return [*(node_name(i) for i in range(1, cluster.nodes + 1)), GATEWAY, CLIENT]


def captured(path: str, name: str) -> str:
    """What the script of ``podwire load script`` prints in a namespace."""
    done = subprocess.run(
        ["nsenter", f"--net={path}", "sh", "-s", name], input=script(), text=True,
        capture_output=True, check=True, env=environment(),
    )  # fmt: skip
    return done.stdout


def first_survey(cluster: Cluster) -> Cluster:
    """The same cluster, which is asked its first questions only."""
    return replace(cluster, steps=cluster.steps[:1])


def compare(seed: int, mode: str) -> tuple[list[str], int, dict[str, str]]:
    """Differences, questions that were compared, and the dumps by host."""
    cluster = first_survey(generate(seed, mode=mode))
    texts: dict[str, str] = {}

    def look(paths: dict[str, str]) -> None:
        for host in hosts(cluster):
            texts[host] = captured(paths[host], host)

    result = against_linux(cluster, look)
    if result.mismatch is not None:
        return [f"seed {seed}: model and Linux differ already: see the oracle"], 0, texts
    dumps: list[Dump] = [d for name, text in texts.items() for d in read(text, f"{name}.dump")]
    survey = cluster.steps[0]
    assert isinstance(survey, Survey)
    wrong, asked = [], 0
    for probe, answers in zip(survey.probes, result.recording.answers[0], strict=True):
        if any(pod.name == probe.netns and probe.dst in {pod.ip, pod.ip6} for pod in cluster.pods):
            continue  # it never leaves the pod
        if sticky(cluster, probe):
            continue  # the dump knows whom the last question was sent to
        asked += 1
        possible = predicted(cluster, [load(dump, SeededRng(0)) for dump in dumps], probe, 0)
        if any(kind_of(answer) not in possible for answer in answers):
            # The drawn port may be one that Linux drew before, whose flow the dump remembers.
            possible = predicted(cluster, [load(dump, SeededRng(0)) for dump in dumps], probe, 1)
        wrong += [
            f"seed {seed}, {mode}: {probe}: Linux says {answer}, dumps {sorted(possible)}"
            for answer in dict.fromkeys(answers)
            if answer != "EMSGSIZE"  # the pod itself knows that; its device is in no dump
            if kind_of(answer) not in possible
        ]
    return wrong, asked, texts


def sticky(cluster: Cluster, probe: Probe) -> bool:
    """Whether a question may be for a Service with affinity."""
    for service in cluster.services.values():
        spec = service.spec
        if spec.session_affinity != "ClientIP":
            continue
        addresses = [*spec.cluster_ips, *spec.external_ips]
        addresses += [entry.ip for entry in service.status.load_balancer.ingress]
        ports = [port.node_port for port in spec.ports]
        if probe.dst in addresses or probe.port in ports:
            return True
    return False


def kind_of(answer: str) -> str:
    """An answer without what only the asking socket knows."""
    return answer if " " in answer or answer == "REFUSED" else "none"


def predicted(cluster: Cluster, loaded: list[Loaded], probe: Probe, seed: int) -> set[str]:
    """What the dumps let expect; ``seed`` draws the port that is asked from."""
    pod = next((p for p in cluster.pods if p.name == probe.netns), None)
    source = f"node/{probe.node}"
    if pod is not None:
        source = pod.ip6 if ":" in probe.dst else pod.ip
    port = f"[{probe.dst}]:{probe.port}" if ":" in probe.dst else f"{probe.dst}:{probe.port}"
    size = probe.size_bytes + HEADERS[probe.protocol] + (20 if ":" in probe.dst else 0)
    spec = TraceSpec(
        source=source,
        destination=port,
        protocol=probe.protocol,
        size_bytes=size if probe.size_bytes else DEFAULT_SIZE_BYTES,
    )
    try:
        answer = walk(loaded, spec, SeededRng(seed)).answer
    except PlaceError as error:
        return {f"refused: {error}"}
    return {outcome(cluster, branch, probe) for branch in answer.branches}


def outcome(cluster: Cluster, branch: Branch, probe: Probe) -> str:
    """What a program would be told at the end of a branch."""
    flow = branch.flow
    if branch.fate is Fate.UNKNOWN or flow is None:
        return f"{branch.fate} {branch.hops[-1].steps[-1].detail}"
    if branch.fate is Fate.DELIVERED:
        return f"{branch.node} {flow.src}"
    if branch.fate in {Fate.REFUSED, Fate.NO_ENDPOINTS}:
        last = branch.hops[-1].steps[-1]
        told = last.stage == "socket" or last.detail.startswith("rejected")
        other = any(word in last.detail for word in ("host-unreachable", "addr-unreachable"))
        return "REFUSED" if told and not other else "none"
    pod = next((p for p in cluster.pods if flow.dst in {p.ip, p.ip6}), None)
    if branch.fate is not Fate.EXITS_CLUSTER or pod is None:
        return "none"
    serves = TCP_PORTS if probe.protocol == "tcp" else UDP_PORTS
    return f"{pod.name} {flow.src}" if flow.dst_port in serves else "REFUSED"


def main() -> int:
    """Compare seeds; 1 when something differed."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.dumped", description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--mode", choices=MODES, action="append")
    parser.add_argument("--keep", type=Path, help="write the dumps here")
    arguments = parser.parse_args()
    leave_host()
    failed = total = 0
    for mode in arguments.mode or MODES:
        for seed in range(arguments.first, arguments.first + arguments.seeds):
            wrong, asked, texts = compare(seed, mode)
            failed, total = failed + len(wrong), total + asked
            for line in wrong:
                sys.stdout.write(f"{line}\n")
            for name, text in texts.items() if arguments.keep else ():
                (arguments.keep / f"{mode}-{seed}-{name}.dump").write_text(text)
    sys.stdout.write(f"{total} questions, {failed} differ\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
