"""The Pod Security Standards against upstream's own pods, at every version that differs.

Data: test/testdata of kubernetes/pod-security-admission, each pod once.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from podwire.api import codec, defaults, kinds, podsecurity
from podwire.api.podsecurity import BASELINE, LATEST, RESTRICTED, LevelVersion, Policy
from podwire.api.podsecurity.checks import Violation

DATA = Path(__file__).parents[2] / "data" / "podsecurity.json.gz"
FOUND = msgspec.json.decode(gzip.decompress(DATA.read_bytes()))
CASES = FOUND["cases"]


def decoded(pod):
    """As the server has it when it asks: with defaults."""
    body = {"apiVersion": "v1", "kind": "Pod", **pod}
    found = codec.check(body, "v1", "Pod", codec.IGNORE).obj
    defaults.apply(kinds.POD, found)
    return found


PODS = [decoded(pod) for pod in FOUND["pods"]]

ALL = "privileged, baseline, restricted"
REASONS = {
    "allowprivilegeescalation": "allowPrivilegeEscalation != false",
    "apparmorprofile": "forbidden AppArmor profile",
    "capabilities_baseline": "",
    "capabilities_restricted": "unrestricted capabilities",
    "hostnamespaces": "host namespaces",
    "hostpathvolumes": "",
    "hostports": "hostPort",
    "hostprobesandhostlifecycle": "probe or lifecycle host",
    "privileged": "privileged",
    "procmount": "procMount",
    "procmount_restricted": "procMount",
    "restrictedvolumes": "restricted volume types",
    "runasnonroot": "runAsNonRoot != true",
    "runasuser": "runAsUser=0",
    "seccompprofile_baseline": "seccompProfile",
    "seccompprofile_restricted": "seccompProfile",
    "selinuxoptions": "seLinuxOptions",
    "sysctls": "forbidden sysctls",
    "windowshostprocess": "hostProcess",
}
"""What a violation says, by the name of its control; "" where restricted replaces it."""


def violated(level: str, minor: int, number: int) -> list[Violation]:
    pod = PODS[number]
    return podsecurity.violations(LevelVersion(level, minor), pod["metadata"], pod["spec"])


@pytest.mark.parametrize(
    ("level", "minor"), [(level, minor) for level in CASES for minor in CASES[level]]
)
def test_upstreams_pods_pass_and_fail_as_upstream_says(level, minor):
    """Those that fail do so for (among others) the control that they are named after."""
    at = CASES[level][minor]
    for name, number in at["pass"].items():
        assert violated(level, int(minor), number) == [], name
    for name, number in at["fail"].items():
        told = [violation.reason for violation in violated(level, int(minor), number)]
        assert any(text.startswith(REASONS[name.rstrip("0123456789")]) for text in told), name


def test_every_control_is_reached_by_some_pod():
    """At the newest version; restricted replaces four controls of baseline."""
    named = {name.rstrip("0123456789") for name in CASES[RESTRICTED]["37"]["fail"]}
    assert named == set(REASONS)
    baseline, restricted = (
        len(podsecurity.controls(LevelVersion(level))) for level in (BASELINE, RESTRICTED)
    )
    assert (baseline, restricted) == (12, len(REASONS) - 4)


def test_a_pod_is_told_all_that_is_wrong_with_it():
    """In upstream's words and order."""
    pod = {
        "hostNetwork": True,
        "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        "containers": [{
            "name": "c",
            "ports": [{"hostPort": 80}, {"hostPort": 443}],
            "securityContext": {"privileged": True, "capabilities": {"add": ["SYS_ADMIN"]}},
        }, {"name": "d"}],
    }  # fmt: skip
    found = podsecurity.violations(LevelVersion(RESTRICTED), {}, pod)
    assert podsecurity.details(found) == (
        "host namespaces (hostNetwork=true), "
        'hostPort (container "c" uses hostPorts 443, 80), '
        'privileged (container "c" must not set securityContext.privileged=true), '
        "allowPrivilegeEscalation != false "
        '(containers "c", "d" must set securityContext.allowPrivilegeEscalation=false), '
        'unrestricted capabilities (containers "c", "d" must set '
        'securityContext.capabilities.drop=["ALL"]; container "c" must not include "SYS_ADMIN" in '
        "securityContext.capabilities.add), "
        'restricted volume types (volume "v" uses restricted volume type "hostPath"), '
        'runAsNonRoot != true (pod or containers "c", "d" must set '
        "securityContext.runAsNonRoot=true), "
        'seccompProfile (pod or containers "c", "d" must set securityContext.seccompProfile.type '
        'to "RuntimeDefault" or "Localhost")'
    )
    assert podsecurity.reasons(found[:2]) == "host namespaces, hostPort"


def test_labels_say_what_a_namespace_asks_for():
    """Warnings follow an explicit level; what cannot be read is strict where it enforces."""
    label = "pod-security.kubernetes.io/"
    policy, wrong = podsecurity.policy_of({f"{label}enforce": "baseline"})
    assert (policy.enforce, policy.warn) == (LevelVersion(BASELINE), LevelVersion(BASELINE))
    assert not wrong
    policy, _ = podsecurity.policy_of(
        {f"{label}enforce": "restricted", f"{label}enforce-version": "v1.30",
         f"{label}warn": "privileged"}
    )  # fmt: skip
    assert [str(p) for p in policy] == [
        "restricted:v1.30",
        "privileged:latest",
        "privileged:latest",
    ]
    policy, wrong = podsecurity.policy_of({f"{label}enforce": "no", f"{label}audit-version": "2"})
    assert policy == Policy(LevelVersion(RESTRICTED, LATEST))
    assert [f"{cause.field}: {cause.message}" for cause in wrong] == [
        f'metadata.labels[{label}enforce]: Invalid value: "no": must be one of {ALL}',
        f'metadata.labels[{label}audit-version]: Invalid value: "2": must be "latest" or "v1.x"',
    ]
