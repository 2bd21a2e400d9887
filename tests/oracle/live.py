"""Linux as the source of answers, and what it answered as another one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from podwire.dataplane import commands as c
from podwire.kube_proxy.conntrack import Wanted, stale
from tests.oracle.cluster import (
    CLIENT,
    CLIENT_IP,
    GATEWAY,
    GATEWAY_IP,
    Again,
    Ask,
    Cluster,
    Probe,
    node_ip,
)
from tests.oracle.deployment import mac, sockets
from tests.oracle.judge import Recording
from tests.oracle.linux import Linux, Namespaces, host_of
from tests.oracle.probing import Prober, Question


class Live:
    """A cluster's Linux namespaces; writes down what they answer."""

    def __init__(self, cluster: Cluster, spaces: Namespaces, prober: Prober) -> None:
        self.cluster, self.spaces, self.prober = cluster, spaces, prober
        self.linux = Linux(spaces, cluster.tools)
        self.linux.add_fabric()
        self.recording = Recording(cluster.seed)
        self._since = time.monotonic()

    def command(self, node: str, command: c.Command) -> None:
        """Perform a command; a host is made by the first one for it."""
        if node not in self.linux.hosts:
            self.linux.add_host(node, self._mac(node))
        self.linux.perform(node, command)

    def forget(self, node: str, wanted: Wanted, family: str) -> None:
        """See ``judge.Source``: kube-proxy decides from what Linux tracks."""
        for found in stale(self.linux.connections(node, family), wanted):
            self.linux.perform(node, found)

    def _mac(self, node: str) -> str:
        addresses = {CLIENT: CLIENT_IP, GATEWAY: GATEWAY_IP}
        return mac(addresses.get(node) or node_ip(int(node.rpartition("-")[2])))

    def built(self) -> None:
        """Everything stands: start the programs."""
        self.linux.settle()
        for s in sockets(self.cluster):
            space = host_of(s.node, s.netns)
            self.prober.serve(space, s.name, s.protocol, s.address, s.port)

    def survey(
        self, step: int, probes: Sequence[Probe], counts: list[int], patience_s: list[float]
    ) -> list[list[str]] | None:
        """See ``judge.Source``."""
        self.linux.forget()
        questions, owners = [], []
        for index, (probe, count, wait_s) in enumerate(
            zip(probes, counts, patience_s, strict=True)
        ):
            questions += [_question(probe, wait_s)] * count
            owners += [index] * count
        answers: list[list[str]] = [[] for _ in probes]
        for owner, answer in zip(owners, self.prober.ask(questions), strict=True):
            answers[owner].append(answer)
        self.recording.answers[step] = answers
        return answers

    def ask(self, step: int, ask: Ask, patience_s: float) -> str | None:
        """See ``judge.Source``."""
        self.linux.forget()
        question = _question(ask.probe, patience_s)._replace(src_port=ask.src_port)
        (answer,) = self.prober.ask([question], ask.key)
        self.recording.answers[step] = [[answer]]
        return answer

    def again(self, step: int, again: Again, patience_s: float) -> str | None:
        """See ``judge.Source``."""
        self.linux.forget()
        answer = self.prober.again(again.key, patience_s)
        self.recording.answers[step] = [[answer]]
        return answer

    def wait(self, seconds: float) -> None:
        """See ``judge.Source``. The kernel's clock is the only one that its affinity obeys."""
        time.sleep(seconds)

    def elapsed_s(self, step: int) -> float:
        """See ``judge.Source``."""
        before, self._since = self._since, time.monotonic()
        self.recording.elapsed_s[step] = self._since - before
        return self._since - before


class Recorded:
    """Answers that were written down."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def command(self, node: str, command: c.Command) -> None:
        """Nobody listens."""

    def forget(self, node: str, wanted: Wanted, family: str) -> None:
        """Nobody tracks."""

    def built(self) -> None:
        """Nothing was built."""

    def survey(
        self, step: int, probes: Sequence[Probe], counts: list[int], patience_s: list[float]
    ) -> list[list[str]] | None:
        """See ``judge.Source``."""
        return self._recording.answers.get(step)

    def ask(self, step: int, ask: Ask, patience_s: float) -> str | None:
        """See ``judge.Source``."""
        return self._one(step)

    def again(self, step: int, again: Again, patience_s: float) -> str | None:
        """See ``judge.Source``."""
        return self._one(step)

    def _one(self, step: int) -> str | None:
        found = self._recording.answers.get(step)
        return found[0][0] if found is not None else None

    def wait(self, seconds: float) -> None:
        """Nobody waits."""

    def elapsed_s(self, step: int) -> float:
        """See ``judge.Source``."""
        return self._recording.elapsed_s[step]


def _question(probe: Probe, patience_s: float) -> Question:
    space = host_of(probe.node, probe.netns)
    return Question(space, probe.protocol, probe.dst, probe.port, 0, probe.size_bytes, patience_s)
