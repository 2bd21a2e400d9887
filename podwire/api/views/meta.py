"""What every kind shares: metadata, selectors, references, conditions."""

from __future__ import annotations

from podwire.api.view import View

Labels = dict[str, str]


class OwnerReference(View, frozen=True, kw_only=True):
    """metadata.ownerReferences[]."""

    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool = False
    block_owner_deletion: bool = False


class ObjectMeta(View, frozen=True, kw_only=True):
    """metadata of every object."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    deletion_grace_period_seconds: int | None = None
    labels: Labels = {}
    annotations: Labels = {}
    owner_references: list[OwnerReference] = []
    finalizers: list[str] = []

    def controller(self) -> OwnerReference | None:
        """The owner reference whose ``controller`` is true, if any."""
        for reference in self.owner_references:
            if reference.controller:
                return reference
        return None


class Object(View, frozen=True, kw_only=True):
    """What every kind has; also the view of kinds that need no more."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()

    @property
    def key(self) -> str:
        """``namespace/name``, or ``name`` for cluster-scoped objects."""
        meta = self.metadata
        return f"{meta.namespace}/{meta.name}" if meta.namespace else meta.name


class SelectorRequirement(View, frozen=True, kw_only=True):
    """matchExpressions[] of a label selector, or of a node selector term."""

    key: str = ""
    operator: str = ""
    values: list[str] = []


class LabelSelector(View, frozen=True, kw_only=True):
    """metav1.LabelSelector; ``{}`` selects everything, absence selects nothing."""

    match_labels: Labels = {}
    match_expressions: list[SelectorRequirement] = []


class LocalObjectReference(View, frozen=True, kw_only=True):
    """A name in the same namespace."""

    name: str = ""


class ObjectReference(View, frozen=True, kw_only=True):
    """v1.ObjectReference."""

    api_version: str = ""
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    resource_version: str = ""
    field_path: str = ""


class Condition(View, frozen=True, kw_only=True):
    """A condition of any kind's status."""

    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""
    last_transition_time: str = ""
    last_probe_time: str = ""
    last_heartbeat_time: str = ""
    last_update_time: str = ""
