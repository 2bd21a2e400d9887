"""The Pod Security Standards: which controls a level has at a version, what a namespace asks for,
and what a pod violates. Pure; ``apiserver/admission/pod_security.py`` has the objects.

Source: k8s.io/pod-security-admission (policy/registry.go, api/helpers.go).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, partial
from typing import NamedTuple

from podwire.api.podsecurity import checks
from podwire.api.podsecurity.checks import Control, Violation
from podwire.api.status import Cause
from podwire.api.view import JSON

PRIVILEGED, BASELINE, RESTRICTED = "privileged", "baseline", "restricted"
LEVELS = (PRIVILEGED, BASELINE, RESTRICTED)
"""From the one that forbids nothing to the one that forbids most."""
LATEST = 1 << 16
"""The version ``latest``, newer than any other. Versions are minors of 1."""

MODES = ("enforce", "audit", "warn")
_LABEL = "pod-security.kubernetes.io/"
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]{0,4})")

_BASELINE: dict[str, tuple[tuple[int, Control], ...]] = {
    "appArmorProfile": ((0, checks.apparmor),),
    "capabilities_baseline": ((0, checks.capabilities_baseline),),
    "hostNamespaces": ((0, checks.host_namespaces),),
    "hostPathVolumes": ((0, checks.host_path_volumes),),
    "hostPorts": ((0, checks.host_ports),),
    "hostProbesAndHostLifecycle": ((34, checks.host_probes),),
    "privileged": ((0, checks.privileged),),
    "procMount": (
        (0, checks.proc_mount), (35, checks.unless_user_namespace(checks.proc_mount)),
    ),
    "seLinuxOptions": ((0, checks.selinux), (31, checks.selinux_1_31)),
    "seccompProfile_baseline": ((0, checks.seccomp_annotations), (19, checks.seccomp_baseline)),
    "sysctls": (
        (0, partial(checks.sysctls, safe=checks.SYSCTLS_1_0)),
        (27, partial(checks.sysctls, safe=checks.SYSCTLS_1_27)),
        (29, partial(checks.sysctls, safe=checks.SYSCTLS_1_29)),
        (32, partial(checks.sysctls, safe=checks.SYSCTLS_1_32)),
        (37, partial(checks.sysctls, safe=checks.SYSCTLS_1_37)),
    ),
    "windowsHostProcess": ((0, checks.windows_host_process),),
}  # fmt: skip
"""Controls of baseline by upstream's ids, in order, each with the versions it changed at."""

_RESTRICTED: dict[str, tuple[tuple[int, Control], ...]] = {
    "allowPrivilegeEscalation": (
        (8, checks.privilege_escalation),
        (25, checks.unless_windows(checks.privilege_escalation)),
    ),
    "capabilities_restricted": (
        (22, checks.capabilities_restricted),
        (25, checks.unless_windows(checks.capabilities_restricted)),
    ),
    "procMount_restricted": ((35, checks.proc_mount),),
    "restrictedVolumes": ((0, checks.restricted_volumes),),
    "runAsNonRoot": (
        (0, checks.run_as_non_root), (35, checks.unless_user_namespace(checks.run_as_non_root)),
    ),
    "runAsUser": (
        (23, checks.run_as_user), (35, checks.unless_user_namespace(checks.run_as_user)),
    ),
    "seccompProfile_restricted": (
        (19, checks.seccomp_restricted), (25, checks.unless_windows(checks.seccomp_restricted)),
    ),
}  # fmt: skip
"""Those that restricted has beside baseline's."""

_REPLACES = {
    "capabilities_restricted": "capabilities_baseline",
    "procMount_restricted": "procMount",
    "restrictedVolumes": "hostPathVolumes",
    "seccompProfile_restricted": "seccompProfile_baseline",
}
"""Controls of restricted that say all that one of baseline would."""


class LevelVersion(NamedTuple):
    """A level of the standards as it was at a version: ``restricted:v1.30``."""

    level: str
    minor: int = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.minor == LATEST else f'v1.{self.minor}'}"


class Policy(NamedTuple):
    """What a namespace asks for."""

    enforce: LevelVersion = LevelVersion(PRIVILEGED)
    audit: LevelVersion = LevelVersion(PRIVILEGED)
    warn: LevelVersion = LevelVersion(PRIVILEGED)


def policy_of(labels: Mapping[str, str]) -> tuple[Policy, list[Cause]]:
    """The policy that a namespace's labels ask for, and what cannot be read of them.

    An unreadable level to enforce is the strictest, others are the mildest; an explicit level to
    enforce is also warned of unless the labels say otherwise.
    """
    found = Policy()
    wrong: list[Cause] = []
    for mode in MODES:
        level, version = labels.get(_LABEL + mode), labels.get(f"{_LABEL}{mode}-version")
        chosen: LevelVersion = getattr(found, mode)
        if level is not None:
            if level not in LEVELS:
                wrong.append(_invalid(mode, level, f"must be one of {', '.join(LEVELS)}"))
            fallback = RESTRICTED if mode == "enforce" else PRIVILEGED
            chosen = chosen._replace(level=level if level in LEVELS else fallback)
        if version is not None:
            parsed = _VERSION.fullmatch(version)
            if parsed is None and version != "latest":
                why = 'must be "latest" or "v1.x"'
                wrong.append(_invalid(f"{mode}-version", version, why))
            chosen = chosen._replace(minor=int(parsed[1]) if parsed else LATEST)
        found = found._replace(**{mode: chosen})
    stated = labels.get(f"{_LABEL}enforce") in {BASELINE, RESTRICTED}
    if stated and f"{_LABEL}warn" not in labels:
        minor = found.warn.minor if f"{_LABEL}warn-version" in labels else found.enforce.minor
        found = found._replace(warn=LevelVersion(found.enforce.level, minor))
    return found, wrong


def _invalid(label: str, value: str, why: str) -> Cause:
    message = f'Invalid value: "{value}": {why}'
    return Cause("FieldValueInvalid", message, f"metadata.labels[{_LABEL}{label}]")


@cache
def controls(asked: LevelVersion) -> tuple[Control, ...]:
    """The controls of a level at a version, in the order in which they are told."""
    if asked.level == PRIVILEGED:
        return ()
    chosen = _at(_BASELINE, asked.minor)
    if asked.level == RESTRICTED:
        own = _at(_RESTRICTED, asked.minor)
        for name in own:
            chosen.pop(_REPLACES.get(name, ""), None)
        chosen |= own
    return tuple(chosen.values())


def _at(table: dict[str, tuple[tuple[int, Control], ...]], minor: int) -> dict[str, Control]:
    return {
        name: [control for since, control in forms if since <= minor][-1]
        for name, forms in table.items()
        if forms[0][0] <= minor
    }


def violations(asked: LevelVersion, metadata: JSON, spec: JSON) -> list[Violation]:
    """What a pod does that a level forbids, in upstream's order."""
    found = [control(metadata, spec) for control in controls(asked)]
    return [violation for violation in found if violation is not None]


def reasons(found: list[Violation]) -> str:
    """In short: ``host namespaces, privileged``."""
    return ", ".join(violation.reason for violation in found)


def details(found: list[Violation]) -> str:
    """With names: ``host namespaces (hostNetwork=true), privileged (container "c" ...)``."""
    return ", ".join(f"{v.reason} ({v.detail})" if v.detail else v.reason for v in found)
