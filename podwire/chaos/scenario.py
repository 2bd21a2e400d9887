"""Scenario files: what people write, checked field by field.

A scenario is a steady state, then steps: faults, heals and the symptoms that must show. Unknown
fields are errors; every message names the field's path.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from podwire.api import kinds
from podwire.dataplane.verdict import Fate

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


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
    nodes: list[str] = []
    """No other node may host one of them. Empty: any may."""


class NodeCheck(_Model):
    """What the control plane thinks of a node."""

    node: str
    """A node's name, or ``pod/NAME`` for the one that hosts it."""
    namespace: str = "default"
    ready: Literal["True", "False", "Unknown"] | None = None
    """The status of condition Ready."""
    reason: str = ""
    """Its reason, if it matters."""
    taints: list[str] | None = None
    """All its taints as KEY:EFFECT, in any order."""

    @field_validator("ready", mode="before")
    @classmethod
    def word(cls, value: Any) -> Any:
        """YAML reads True as a boolean."""
        return str(value) if isinstance(value, bool) else value

    @field_validator("taints")
    @classmethod
    def taint(cls, value: list[str] | None) -> list[str] | None:
        """Each has a key and an effect."""
        for text in value or ():
            key, _, effect = text.rpartition(":")
            if not key or effect not in EFFECTS:
                raise ValueError(f"{text!r} is no KEY:EFFECT with effect {', '.join(EFFECTS)}")
        return value


class EndpointsCheck(_Model):
    """How many endpoints the EndpointSlices of a Service list."""

    service: str
    namespace: str = "default"
    ready: int = Field(ge=0)
    not_ready: int | None = Field(default=None, ge=0, alias="notReady")


class GetCheck(_Model):
    """One field of one object, as ``kubectl get -o jsonpath`` would print it."""

    kind: str
    name: str
    namespace: str = "default"
    path: str = "metadata.name"
    """Field names and list indexes, joined by dots."""
    value: str = ".+"
    """A regular expression that the whole text must match; a field that is not there is ''."""
    absent: bool = False
    """The object must not exist."""

    @field_validator("kind")
    @classmethod
    def known(cls, value: str) -> str:
        """The kind is one that is served."""
        if not any(kind.kind == value for kind in kinds.ALL):
            raise ValueError(f"{value!r} is not served; docs/kinds.md lists what is")
        return value

    @field_validator("value")
    @classmethod
    def regular(cls, value: str) -> str:
        """The expression compiles."""
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return value


class EventCheck(_Model):
    """An Event about an object exists."""

    kind: str
    name: str = ""
    """Empty: any object of the kind."""
    reason: str
    message: str = ""
    """A text that its message must contain."""


class Check(_Model):
    """One observable thing; exactly one of the kinds."""

    name: str = ""
    ready: ReadyCheck | None = None
    trace: TraceCheck | None = None
    exec: ExecCheck | None = None
    node: NodeCheck | None = None
    endpoints: EndpointsCheck | None = None
    get: GetCheck | None = None
    event: EventCheck | None = None

    @model_validator(mode="after")
    def one_kind(self) -> Check:
        """Exactly one kind is given."""
        kinds_of = [name for name in type(self).model_fields if name != "name"]
        if sum(getattr(self, name) is not None for name in kinds_of) != 1:
            raise ValueError(f"give exactly one of {', '.join(kinds_of)}")
        return self

    @property
    def title(self) -> str:
        """How the check is told."""
        if self.name:
            return self.name
        told: dict[str, Callable[[Any], str]] = {
            "ready": _ready,
            "trace": _trace,
            "exec": _exec,
            "node": _node,
        }
        told |= {"endpoints": _endpoints, "get": _get, "event": _event}
        return next(words(found) for kind, words in told.items() if (found := getattr(self, kind)))


def _ready(check: ReadyCheck) -> str:
    labels = ",".join(f"{k}={v}" for k, v in sorted(check.selector.items()))
    where = f" on {', '.join(check.nodes)}" if check.nodes else ""
    return f"{check.pods} pods {labels} Ready{where}"


def _trace(check: TraceCheck) -> str:
    return f"{check.from_} > {check.to} {check.fate.value}"


def _exec(check: ExecCheck) -> str:
    return f"{check.in_}: {' '.join(check.command)} -> {check.code}"


def _node(check: NodeCheck) -> str:
    words = [f"Ready={check.ready}" if check.ready else "", check.reason]
    if check.taints is not None:
        words.append(f"taints {', '.join(check.taints) or 'none'}")
    return " ".join(["node", check.node, *(word for word in words if word)])


def _endpoints(check: EndpointsCheck) -> str:
    more = f", {check.not_ready} not" if check.not_ready is not None else ""
    return f"endpoints of {check.service}: {check.ready} ready{more}"


def _get(check: GetCheck) -> str:
    about = f"{check.kind} {check.name}"
    return f"{about} is gone" if check.absent else f"{about} {check.path} = {check.value}"


def _event(check: EventCheck) -> str:
    return f"Event {check.reason} about {check.kind} {check.name}".strip()


class PodKill(_Model):
    """Kill pods as ``kubectl delete --grace-period=0 --force`` would; ``mode`` says how many."""

    kind: Literal["pod-kill"]
    namespace: str = "default"
    selector: dict[str, str]
    mode: Literal["one", "all"] = "one"


class LinkPartition(_Model):
    """Cut the wire between two hosts (nodes, gateway, control-plane) until healed.

    Between a node and control-plane it also parts the node's kubelet and agents from the API.
    """

    kind: Literal["link-partition"]
    a: str
    b: str


class Scale(_Model):
    """Set the replicas of a Deployment; healing restores them."""

    kind: Literal["scale"]
    namespace: str = "default"
    deployment: str
    replicas: int = Field(ge=0)


class _NodeFault(_Model):
    """Strikes one node, or every node with the labels."""

    node: str = ""
    """A node's name, or ``pod/NAME`` for the one that hosts it."""
    namespace: str = "default"
    """Where that pod is."""
    selector: dict[str, str] = {}
    """Labels of nodes (``topology.kubernetes.io/zone: zone-a``)."""

    @model_validator(mode="after")
    def one_way(self) -> Self:
        """The nodes are named in one way."""
        if bool(self.node) == bool(self.selector):
            raise ValueError("give exactly one of node, selector")
        return self


class KubeletStop(_NodeFault):
    """The kubelet process ends, and with it the programs it runs; the kernel goes on."""

    kind: Literal["kubelet-stop"]


class NodePowerOff(_NodeFault):
    """Pull the plug; healing boots the node anew."""

    kind: Literal["node-power-off"]


class NodeCordon(_NodeFault):
    """``kubectl cordon``; healing uncordons."""

    kind: Literal["node-cordon"]


class NodeTaint(_NodeFault):
    """``kubectl taint``; healing takes the taint off."""

    kind: Literal["node-taint"]
    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


Fault = Annotated[
    PodKill | LinkPartition | Scale | KubeletStop | NodePowerOff | NodeCordon | NodeTaint,
    Field(discriminator="kind"),
]


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
    zones: list[str] = []
    """Zones (label topology.kubernetes.io/zone) in which the nodes take turns."""
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
