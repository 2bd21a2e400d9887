"""Names, labels and bodies of a StatefulSet's pods (pure).

Source: kubernetes pkg/controller/statefulset/stateful_set_utils.go.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import Pod, StatefulSet
from podwire.controllers.common import owner_json, pod_from_template
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
        spec["volumes"] = [
            *(
                {"name": claim, "persistentVolumeClaim": {"claimName": f"{claim}-{name}"}}
                for claim in claims
            ),
            *own,
        ]
    return {"metadata": meta, "spec": spec}


def claim_bodies(sts: StatefulSet, number: int) -> list[JSON]:
    """The claims of one ordinal, by the templates; they go with the set if it says so."""
    found: list[JSON] = []
    for template in sts.spec.volume_claim_templates:
        told = template.get("metadata") or {}
        labels = {**(told.get("labels") or {}), **sts.spec.selector.match_labels}
        meta: JSON = {
            "name": f"{told.get('name', '')}-{sts.metadata.name}-{number}",
            "namespace": sts.metadata.namespace,
            "labels": labels,
        }
        if told.get("annotations"):
            meta["annotations"] = told["annotations"]
        if retention(sts, "whenDeleted") == "Delete":
            own = owner_json(sts, kinds.STATEFUL_SET)
            del own["blockOwnerDeletion"]
            meta["ownerReferences"] = [own]
        found.append({"metadata": meta, "spec": template.get("spec") or {}})
    return found


def retention(sts: StatefulSet, when: str) -> str:
    """Delete or Retain: what becomes of claims ``whenDeleted`` or ``whenScaled``."""
    return (sts.spec.persistent_volume_claim_retention_policy or {}).get(when, "Retain")
