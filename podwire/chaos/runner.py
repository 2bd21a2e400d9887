"""Runs a scenario in virtual time: steady state, steps, steady state again; one hash at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from podwire.api.status import ApiError
from podwire.api.view import camel
from podwire.chaos import checks, faults
from podwire.chaos.scenario import Check, Expect, Scenario, ScenarioError, Step
from podwire.runtime.simloop import SimulationError
from podwire.sim.manifests import load
from podwire.sim.settings import ClusterSettings
from podwire.sim.virtual import NotConvergedError, VirtualCluster

Progress = Callable[["Line"], None]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened: when (virtual seconds), what, and whether it was as expected."""

    at_s: float
    phase: str
    text: str
    ok: bool = True
    took_s: float = 0.0


@dataclass(slots=True)
class Outcome:
    """The run as a whole."""

    scenario: str
    seed: int
    passed: bool = True
    lines: list[Line] = field(default_factory=list)
    trace_hash: str = ""
    schedule_hash: str = ""
    virtual_s: float = 0.0

    def json(self) -> dict[str, Any]:
        """For ``-o json``, in the spelling of Kubernetes."""
        body: dict[str, Any] = {camel(k): v for k, v in asdict(self).items() if k != "lines"}
        lines = [{camel(k): v for k, v in asdict(line).items()} for line in self.lines]
        return body | {"lines": lines}


def run(
    scenario: Scenario,
    folder: Path,
    seed: int,
    progress: Progress = lambda _line: None,
    *,
    hash_schedule: bool = False,
    time_profile: str = "",
) -> Outcome:
    """Run to the end, or to the first thing that is not as expected. Raises ScenarioError.

    ``time_profile`` takes the place of the scenario's own.
    """
    spec = scenario.spec
    outcome = Outcome(scenario.metadata.name, seed)
    try:
        settings = ClusterSettings(
            nodes=spec.cluster.nodes,
            cni=spec.cluster.cni,
            time_profile=time_profile or spec.cluster.time_profile,
            zones=tuple(spec.cluster.zones),
            ingress=spec.cluster.ingress,
        )
    except ValueError as error:
        raise ScenarioError(f"spec.cluster.{error}") from error
    with VirtualCluster(settings, seed, hash_schedule=hash_schedule) as cluster:
        session = _Session(cluster, outcome, progress)
        try:
            _play(session, scenario, folder)
        except (NotConvergedError, SimulationError, ApiError) as error:
            session.tell("error", str(error), ok=False)
        outcome.trace_hash = cluster.trace_hash
        outcome.schedule_hash = cluster.loop.schedule_hash
        outcome.virtual_s = round(cluster.now_s, 3)
    return outcome


def _play(session: _Session, scenario: Scenario, folder: Path) -> None:
    spec, cluster = scenario.spec, session.cluster
    cluster.boot()
    cluster.apply(*[body for name in spec.manifests for body in load([folder / name])])
    session.tell("boot", f"{spec.cluster.nodes} nodes Ready, manifests applied")
    cluster.converge()
    if not session.hold(spec.steady_state, 60.0, 1.0, "steady"):
        return
    for step in spec.steps:
        if not session.step(step):
            return
    session.heal()
    session.hold(spec.steady_state, spec.recovery.seconds, 1.0, "recovered")


class _Session:
    """One running scenario."""

    def __init__(self, cluster: VirtualCluster, outcome: Outcome, progress: Progress) -> None:
        self.cluster = cluster
        self._outcome = outcome
        self._progress = progress
        self._undo: list[tuple[str, faults.Undo]] = []
        self._rng = cluster.env.rng.child("chaos")

    def tell(self, phase: str, text: str, *, ok: bool = True, took_s: float = 0.0) -> None:
        line = Line(round(self.cluster.now_s, 3), phase, text, ok, round(took_s, 3))
        self._outcome.lines.append(line)
        self._outcome.passed = self._outcome.passed and ok
        self.cluster.env.trace.record("chaos", phase, text, str(ok))
        self._progress(line)

    def step(self, step: Step) -> bool:
        """Perform one step; whether the run may go on."""
        if step.wait is not None:
            self.cluster.sleep(step.wait.seconds)
            self.tell("wait", f"{step.wait.seconds:g}s")
        elif step.fault is not None:
            done, undo = faults.inject(step.fault, self.cluster, self._rng)
            if undo is not None:
                self._undo.append((done, undo))
            self.tell("fault", done)
        elif step.heal is not None:
            self.heal()
        else:
            assert step.expect is not None
            return self._expect(step.expect)
        return True

    def heal(self) -> None:
        """Undo every fault, the last first."""
        while self._undo:
            done, undo = self._undo.pop()
            undo()
            self.tell("heal", f"undone: {done}")

    def _expect(self, expect: Expect) -> bool:
        return self.hold(expect.checks, expect.within.seconds, expect.every.seconds, "symptom")

    def hold(self, wanted: Sequence[Check], within_s: float, every_s: float, phase: str) -> bool:
        """Ask all checks each ``every_s`` until all hold at once; whether they did in time."""
        began = self.cluster.now_s
        while True:
            wrong = [(check, why) for check in wanted if (why := checks.wrong(check, self.cluster))]
            took = self.cluster.now_s - began
            if not wrong:
                for check in wanted:
                    self.tell(phase, check.title, took_s=took)
                return True
            if took + every_s > within_s:
                for check, why in wrong:
                    self.tell(phase, f"{check.title}: {why}", ok=False, took_s=took)
                return False
            self.cluster.sleep(every_s)
