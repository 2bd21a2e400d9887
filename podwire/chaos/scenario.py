"""Scenario files: what people write, checked field by field.

A scenario is a steady state, then steps: faults, heals and the symptoms that must show. Unknown
fields are errors; every message names the field's path.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from podwire.dataplane.verdict import Fate


class ScenarioError(Exception):
    """The file is no scenario; the message lists each field and what is wrong with it."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


def _seconds(text: Any) -> float:
    """``90s``, ``5m``, ``1h``, ``500ms`` or a number of seconds."""
    if isinstance(text, int | float):
        return float(text)
    units = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
    for unit, factor in units.items():
        number = str(text).removesuffix(unit)
        if number != text and number.replace(".", "", 1).isdigit():
            return float(number) * factor
    raise ValueError(f"{text!r} is no duration; write 500ms, 90s, 5m or 1h")


class Duration(_Model):
    """A duration in seconds, written with a unit."""

    seconds: float

    @model_validator(mode="before")
    @classmethod
    def parse(cls, value: Any) -> Any:
        """Accept the written form."""
        return value if isinstance(value, dict) else {"seconds": _seconds(value)}


class TraceCheck(_Model):
    """A packet's fate."""

    from_: str = Field(alias="from")
    to: str
    namespace: str = "default"
    protocol: Literal["tcp", "udp", "icmp"] = "tcp"
    fate: Fate
    all_branches: bool = Field(default=False, alias="allBranches")
    """Every load-balancing branch must end so, not only the drawn one."""


class ExecCheck(_Model):
    """A command in a pod."""

    in_: str = Field(alias="in")
    namespace: str = "default"
    command: list[str] = Field(min_length=1)
    code: int = 0
    output: str = ""
    """A regular expression that stdout and stderr together must contain."""


class ReadyCheck(_Model):
    """How many pods that match are Ready."""

    namespace: str = "default"
    selector: dict[str, str]
    pods: int = Field(ge=0)


class Check(_Model):
    """One observable thing; exactly one of the kinds."""

    name: str = ""
    ready: ReadyCheck | None = None
    trace: TraceCheck | None = None
    exec: ExecCheck | None = None

    @model_validator(mode="after")
    def one_kind(self) -> Check:
        """Exactly one kind is given."""
        if sum(kind is not None for kind in (self.ready, self.trace, self.exec)) != 1:
            raise ValueError("give exactly one of ready, trace, exec")
        return self

    @property
    def title(self) -> str:
        """How the check is told."""
        if self.name:
            return self.name
        if self.ready is not None:
            labels = ",".join(f"{k}={v}" for k, v in sorted(self.ready.selector.items()))
            return f"{self.ready.pods} pods {labels} Ready"
        if self.trace is not None:
            return f"{self.trace.from_} > {self.trace.to} {self.trace.fate.value}"
        assert self.exec is not None
        return f"{self.exec.in_}: {' '.join(self.exec.command)} -> {self.exec.code}"


class PodKill(_Model):
    """Kill pods as ``kubectl delete --grace-period=0 --force`` would; ``mode`` says how many."""

    kind: Literal["pod-kill"]
    namespace: str = "default"
    selector: dict[str, str]
    mode: Literal["one", "all"] = "one"


class LinkPartition(_Model):
    """Cut the wire between two hosts (nodes, gateway, control-plane) until healed."""

    kind: Literal["link-partition"]
    a: str
    b: str


class Scale(_Model):
    """Set the replicas of a Deployment; healing restores them."""

    kind: Literal["scale"]
    namespace: str = "default"
    deployment: str
    replicas: int = Field(ge=0)


Fault = Annotated[PodKill | LinkPartition | Scale, Field(discriminator="kind")]


class Expect(_Model):
    """Checks that must all hold at one moment within a time; asked every ``every``."""

    within: Duration
    every: Duration = Duration(seconds=1.0)
    checks: list[Check] = Field(min_length=1)


class Step(_Model):
    """One step; exactly one of wait, fault, expect, heal."""

    name: str = ""
    wait: Duration | None = None
    fault: Fault | None = None
    expect: Expect | None = None
    heal: Literal["all"] | None = None

    @model_validator(mode="after")
    def one_kind(self) -> Step:
        """Exactly one kind is given."""
        if sum(kind is not None for kind in (self.wait, self.fault, self.expect, self.heal)) != 1:
            raise ValueError("give exactly one of wait, fault, expect, heal")
        return self


class ClusterSpec(_Model):
    """The cluster that the scenario runs on."""

    nodes: int = Field(default=3, ge=1, le=200)
    cni: str = "flannel"
    time_profile: str = Field(default="typical", alias="timeProfile")
    ingress: str = "none"


class Spec(_Model):
    """The scenario's body."""

    cluster: ClusterSpec = ClusterSpec()
    manifests: list[str] = []
    """Files or folders, relative to the scenario's file."""
    steady_state: list[Check] = Field(alias="steadyState", min_length=1)
    """Must hold before the first step, and again after the last, within ``recovery``."""
    recovery: Duration = Duration(seconds=60.0)
    steps: list[Step] = Field(min_length=1)


class Metadata(_Model):
    """The scenario's name."""

    name: str
    description: str = ""


class Scenario(_Model):
    """A scenario file."""

    api_version: Literal["podwire.dev/v1alpha1"] = Field(alias="apiVersion")
    kind: Literal["Scenario"]
    metadata: Metadata
    spec: Spec


def load(path: Path) -> Scenario:
    """Read a scenario. Raises ScenarioError."""
    try:
        return Scenario.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ScenarioError(f"{path}: {error}") from error
    except ValidationError as error:
        lines = [f"{path} is not a scenario:"]
        for problem in error.errors():
            where = ".".join(str(part) for part in problem["loc"]) or "(file)"
            lines.append(f"  {where}: {problem['msg']}")
        raise ScenarioError("\n".join(lines)) from error
