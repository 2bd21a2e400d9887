"""Names, labels and bodies of a StatefulSet's pods (pure).

Source: kubernetes pkg/controller/statefulset/stateful_set_utils.go. Not modelled: persistent
volumes; a claim of volumeClaimTemplates becomes an emptyDir of the same name (an event says so).
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import Pod, StatefulSet
from podwire.controllers.common import pod_from_template
from podwire.controllers.history import HASH

POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


def ordinal(owner: str, pod: Pod) -> int:
    """The pod's ordinal, -1 when its name is not ``<owner>-<n>``."""
    parent, _, number = pod.metadata.name.rpartition("-")
    return int(number) if parent == owner and number.isdigit() else -1


def start(sts: StatefulSet) -> int:
    """The first ordinal."""
    return (sts.spec.ordinals or {}).get("start", 0)


def pod_body(sts: StatefulSet, number: int, template: JSON, revision: str) -> JSON:
    """The pod of one ordinal at one revision."""
    name = f"{sts.metadata.name}-{number}"
    body = pod_from_template(template, sts, kinds.STATEFUL_SET)
    meta = {k: v for k, v in body["metadata"].items() if k != "generateName"}
    meta["name"] = name
    meta["namespace"] = sts.metadata.namespace
    meta["labels"] = {
        **meta.get("labels", {}),
        POD_NAME: name,
        POD_INDEX: str(number),
        HASH: revision,
    }
    spec = {**body["spec"], "hostname": name}
    if sts.spec.service_name:
        spec["subdomain"] = sts.spec.service_name
    claims = [t.get("metadata", {}).get("name", "") for t in sts.spec.volume_claim_templates]
    if claims:
        own = [v for v in spec.get("volumes") or [] if v.get("name") not in claims]
        spec["volumes"] = [*({"name": claim, "emptyDir": {}} for claim in claims), *own]
    return {"metadata": meta, "spec": spec}
