"""The status of a ValidatingAdmissionPolicy (pure).

Source: kubernetes pkg/controller/validatingadmissionpolicystatus (which applies it server-side;
here it is a merge patch, so that its manager is an Update).
"""

from __future__ import annotations

from collections.abc import Callable

from podwire.api import kinds
from podwire.api.view import JSON
from podwire.api.views import ValidatingAdmissionPolicy
from podwire.client.effects import Effect, Patch

Check = Callable[[JSON], list[JSON]]
"""The warnings about a policy's spec."""


def reconcile(policy: ValidatingAdmissionPolicy | None, check: Check) -> list[Effect]:
    """Tell of each new generation what its types say; nothing about a policy that is gone."""
    if policy is None or policy.metadata.generation <= policy.status.observed_generation:
        return []
    warnings = check(policy.spec)
    status: JSON = {
        "observedGeneration": policy.metadata.generation,
        "typeChecking": {"expressionWarnings": warnings or None},
    }
    return [
        Patch(
            kinds.VALIDATING_ADMISSION_POLICY, policy.metadata.name, {"status": status},
            subresource="status", missing_ok=True,
        )
    ]  # fmt: skip
