"""The model against answers: of Linux, now, or as they were written down."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from podwire.dataplane import commands as c
from podwire.dataplane.verdict import Hop
from podwire.dataplane.world import World
from podwire.kube_proxy.conntrack import Wanted
from tests.oracle import model
from tests.oracle.cluster import Again, Ask, Change, Cluster, Probe, Survey, Wait
from tests.oracle.deployment import SECOND_NS, Deployment, Mutation
from tests.oracle.probing import PATIENT_S

UNLIKELY = 1e-8
"""What may happen by chance less often than this counts as impossible."""
FULL_SETS = 10
"""In how many questions of a survey every possible backend must be seen; the others ask thrice."""
FEW = 3
MAX_STATES = 12
EPHEMERAL = 40_000


@dataclass
class Recording:
    """What Linux answered, by step, and how long each step took, in seconds."""

    seed: int
    answers: dict[int, list[list[str]]] = field(default_factory=dict)
    elapsed_s: dict[int, float] = field(default_factory=dict)


class Source(Protocol):
    """Who answers."""

    def command(self, node: str, command: c.Command) -> None:
        """A command of the deployment."""

    def forget(self, node: str, wanted: Wanted, family: str) -> None:
        """UDP flows that lead elsewhere than is wanted are to be forgotten."""

    def built(self) -> None:
        """The cluster stands as it is at first."""

    def survey(
        self, step: int, probes: Sequence[Probe], counts: list[int], patience_s: list[float]
    ) -> list[list[str]] | None:
        """All answers to each probe; at least as many as ``counts`` says. None: nobody asked."""

    def ask(self, step: int, ask: Ask, patience_s: float) -> str | None:
        """The answer to one question."""

    def again(self, step: int, again: Again, patience_s: float) -> str | None:
        """The answer to another request on an open connection."""

    def wait(self, seconds: float) -> None:
        """Time passes."""

    def elapsed_s(self, step: int) -> float:
        """Seconds since the step before this one ended."""


@dataclass(frozen=True)
class Mismatch:
    """Where model and Linux part."""

    seed: int
    step: int
    title: str
    question: str
    linux: dict[str, int]
    model: dict[str, float]
    why: str
    traces: list[tuple[str, float, list[Hop]]] = field(repr=False)


def judge(
    cluster: Cluster, source: Source, mutation: Mutation = lambda command: command
) -> Mismatch | None:
    """Walk through all steps; the first difference, or None."""
    return _Judge(cluster, source, mutation).run()


@dataclass(frozen=True)
class State:
    """A world that agrees with all answers so far, and the connections that are open in it."""

    world: World
    connections: dict[str, model.Connection] = field(default_factory=dict)


Found = tuple[State, model.Attempt]


class _Judge:
    """The model's side of a run: all states it may be in, given what Linux answered."""

    def __init__(self, cluster: Cluster, source: Source, mutation: Mutation) -> None:
        self.cluster, self.source = cluster, source
        self.deployment = Deployment(cluster, source.command, source.forget, mutation)
        self.states: list[State] = []
        self.silent: dict[Probe, None] = {}
        self.step, self.title = 0, ""

    def run(self) -> Mismatch | None:
        self.deployment.build()
        self.source.built()
        self.states = [State(self.deployment.world)]
        self.source.elapsed_s(-1)
        handlers: dict[type, Callable[..., Mismatch | None]] = {
            Survey: self._survey, Ask: self._ask, Again: self._again,
            Change: self._change, Wait: self._wait,
        }  # fmt: skip
        for index, step in enumerate(self.cluster.steps):
            self.step = index
            self.title = getattr(step, "title", self.title)
            found = handlers[type(step)](step)
            if found is not None:
                return found
            self.deployment.now_ns += int(self.source.elapsed_s(self.step) * SECOND_NS)
        return None

    # ------------------------------------------------------------ steps

    def _change(self, step: Change) -> None:
        self.deployment.world, *self.deployment.others = [state.world for state in self.states]
        self.deployment.change(step)
        self.silent.clear()

    def _wait(self, step: Wait) -> None:
        self.source.wait(step.seconds)

    def _survey(self, step: Survey) -> Mismatch | None:
        if any(probe in self.silent for probe in step.probes):
            return None
        now_ns = self.deployment.now_ns
        found = [
            list(model.attempts(self.states[0].world, probe, EPHEMERAL + i, now_ns))
            for i, probe in enumerate(step.probes)
        ]
        shares = [model.outcomes(attempts) for attempts in found]
        counts, full = [], 0
        for share in shares:
            wanted = repeats(share)
            full += wanted > 1
            wanted = wanted if full <= FULL_SETS else min(wanted, FEW)
            counts.append(max(wanted, step.at_least))
        patience_s = [_patience_s(share) for share in shares]
        answers = self.source.survey(self.step, step.probes, counts, patience_s)
        if answers is None:
            return None
        for probe, share, attempts, given in zip(step.probes, shares, found, answers, strict=True):
            why = difference(Counter(given), share)
            if why:
                return self._mismatch(str(probe), Counter(given), attempts, why)
        return None

    def _ask(self, step: Ask) -> Mismatch | None:
        if step.probe in self.silent:
            return None  # nobody answered a moment ago; the wait would teach nothing
        now_ns = self.deployment.now_ns
        found = [
            (state, attempt)
            for state in self.states
            for attempt in model.attempts(state.world, step.probe, step.src_port, now_ns)
        ]
        answer = self.source.ask(self.step, step, _patience_s(a.outcome for _, a in found))
        if answer == "TIMEOUT" and not step.key:
            self.silent[step.probe] = None
        return self._believe(f"{step.probe} from port {step.src_port}", answer, found, step.key)

    def _again(self, step: Again) -> Mismatch | None:
        now_ns = self.deployment.now_ns
        if step.key not in self.states[0].connections:
            return None  # nothing was opened: both worlds said so
        found = [
            (state, model.again(state.world, state.connections[step.key], now_ns))
            for state in self.states
        ]
        answer = self.source.again(self.step, step, _patience_s(a.outcome for _, a in found))
        return self._believe(f"again {step.key}", answer, found, step.key)

    def _believe(
        self, question: str, answer: str | None, found: list[Found], key: str
    ) -> Mismatch | None:
        """Go on with the states in which the answer is what it was (None: nobody asked)."""
        if answer is None:
            return None
        kept = [(state, attempt) for state, attempt in found if attempt.outcome == answer]
        if not kept:
            attempts = [attempt for _, attempt in found]
            return self._mismatch(question, Counter([answer]), attempts, "not among the possible")
        self.states = []
        for state, attempt in kept[:MAX_STATES]:
            connections = dict(state.connections)
            connections.pop(key, None)
            if key and attempt.connection is not None and " " in answer:
                connections[key] = attempt.connection
            self.states.append(State(attempt.world, connections))
        return None

    def _mismatch(
        self, question: str, given: Counter[str], attempts: list[model.Attempt], why: str
    ) -> Mismatch:
        return Mismatch(
            seed=self.cluster.seed,
            step=self.step,
            title=self.title,
            question=question,
            linux=dict(given),
            model=model.outcomes(attempts),
            why=why,
            traces=[(a.outcome, a.probability, a.hops) for a in attempts],
        )


def _patience_s(outcomes: Iterable[str]) -> float:
    """How long to wait for an answer: hardly, where none is expected.

    Where one may come or not, less than TCP's first retransmission takes: what a rule dropped is
    not in conntrack, so a second SYN may be sent to another endpoint.
    """
    possible = list(outcomes)
    if all(outcome in {"TIMEOUT", "EPERM"} for outcome in possible):
        return 0.4
    return 0.8 if "TIMEOUT" in possible else PATIENT_S


# ---------------------------------------------------------------- chance


def repeats(shares: dict[str, float]) -> int:
    """How often to ask so that a possible outcome that is never seen cannot be by chance."""
    rarest = min(shares.values())
    if rarest > 1 - 1e-9:
        return 1
    return math.ceil(math.log(UNLIKELY) / math.log1p(-max(rarest, 0.02)))


def difference(given: Counter[str], shares: dict[str, float]) -> str:
    """Why these answers cannot come from these probabilities; "" when they can."""
    for answer in given:
        if answer not in shares:
            return f"{answer} is not among the possible"
    total = sum(given.values())
    for outcome, share in shares.items():
        if tail(given[outcome], total, share) < UNLIKELY:
            return f"{outcome}: {given[outcome]} of {total}, where {share:.3f} were expected"
    return ""


def tail(count: int, total: int, share: float) -> float:
    """How likely a count at least as far from its mean is (the smaller side, doubled)."""
    if share >= 1 - 1e-9:
        return 1.0 if count == total else 0.0
    logs = [
        math.lgamma(total + 1) - math.lgamma(k + 1) - math.lgamma(total - k + 1)
        + k * math.log(share) + (total - k) * math.log1p(-share)
        for k in range(total + 1)
    ]  # fmt: skip
    low = sum(math.exp(log) for log in logs[: count + 1])
    high = sum(math.exp(log) for log in logs[count:])
    return min(1.0, 2 * min(low, high))
