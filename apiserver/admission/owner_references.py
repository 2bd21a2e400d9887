"""OwnerReferencesPermissionEnforcement: what one may not delete, one cannot have deleted by others.

Source: upstream plugin/pkg/admission/gc.
"""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review
from podwire.apiserver.authorization.attributes import Attributes


def validate(review: Review) -> None:
    """Look at changes of ownerReferences. Raises ApiError Forbidden."""
    if review.kind is kinds.POD and review.subresource == "status":
        return  # cannot change them
    new, old = _references(review.obj), _references(review.old or {})
    if new == old:
        return
    if review.operation != "CREATE":
        kind = review.kind
        asked = Attributes(
            review.user, "delete", kind.group, kind.version, kind.plural, review.subresource,
            review.namespace, review.name,
        )  # fmt: skip
        _demand(review, asked, "cannot set an ownerRef on a resource you can't delete")
    blocked = [ref.get("uid") for ref in old if ref.get("blockOwnerDeletion")]
    blocking = [
        ref for ref in new if ref.get("blockOwnerDeletion") and ref.get("uid") not in blocked
    ]
    anything = Attributes(review.user, "update", "*", "*", "*", "finalizers", name="*")
    if blocking and not review.server.authorizer.decide(anything)[0]:
        for ref in blocking:
            _demand_finalizers(review, ref)


def _references(obj: JSON) -> list[JSON]:
    return (obj.get("metadata") or {}).get("ownerReferences") or []


def _demand_finalizers(review: Review, ref: JSON) -> None:
    version, name = ref.get("apiVersion", ""), ref.get("kind", "")
    owner = review.server.kinds.by_gvk(version, name)
    if owner is None:
        group, _, bare = version.rpartition("/")
        why = (
            "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for "
            f'APIVersion {version} Kind {name}: no matches for kind "{name}" in version '
            f'"{f"{group}/" if group else ""}{bare}"'
        )
        raise calls.forbidden(review.kind, review.name, why)
    asked = Attributes(
        review.user, "update", owner.group, owner.version, owner.plural, "finalizers",
        review.namespace if owner.namespaced else "", ref.get("name", ""),
    )  # fmt: skip
    why = (
        "cannot set blockOwnerDeletion if an ownerReference refers to a resource "
        "you can't set finalizers on"
    )
    _demand(review, asked, why)


def _demand(review: Review, asked: Attributes, why: str) -> None:
    allowed, reason = review.server.authorizer.decide(asked)
    if not allowed:
        raise calls.forbidden(review.kind, review.name, f"{why}: {reason}, <nil>")


PLUGIN = Plugin(
    "OwnerReferencesPermissionEnforcement", validate=validate, subresources=None, on=False
)
