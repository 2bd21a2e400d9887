"""The status controller's informer and queue (key: the name of a ValidatingAdmissionPolicy)."""

from __future__ import annotations

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import ValidatingAdmissionPolicy
from podwire.client.driver import Driver
from podwire.client.effects import Effect
from podwire.controllers.validatingadmissionpolicystatus import core
from podwire.controllers.world import World


def _check(spec: JSON) -> list[JSON]:
    # CEL is large, and most clusters never see a policy
    from podwire.api.cel.typechecking import warnings  # noqa: PLC0415

    return warnings(spec)


class PolicyStatuses:
    """Looks at every policy that is new or has changed."""

    def __init__(self, world: World) -> None:
        self._policies = world.informers.informer(kinds.VALIDATING_ADMISSION_POLICY)
        self.driver = world.driver("validatingadmissionpolicy-status", self._reconcile)
        self._policies.on_change(self._changed)

    def _changed(
        self, _: ValidatingAdmissionPolicy | None, new: ValidatingAdmissionPolicy | None
    ) -> None:
        if new is not None:
            self.driver.add(new.key)

    def _reconcile(self, key: str) -> list[Effect]:
        return core.reconcile(self._policies.by_key(key), _check)


def build(world: World) -> Driver:
    """The ValidatingAdmissionPolicy status controller."""
    return PolicyStatuses(world).driver
