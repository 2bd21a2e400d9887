"""The controls of the Pod Security Standards, one function each: what a pod does that it must not.

A control is given metadata and spec of a pod (or of a template) and answers None, or a reason and a
detail in upstream's words. Controls that later versions of the standard relaxed are there in each
of their forms; ``podwire.api.podsecurity`` knows which version has which.
Source: k8s.io/pod-security-admission policy/check_*.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from podwire.api.gotext import go_quoted
from podwire.api.view import JSON


class Violation(NamedTuple):
    """Why a pod is refused: in short, and with names ('' when there is nothing to add)."""

    reason: str
    detail: str


Control = Callable[[JSON, JSON], Violation | None]
"""Given metadata and spec."""


# ---------------------------------------------------------------- words


def _containers(spec: JSON) -> Iterator[JSON]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or ()


def _context(of: JSON) -> JSON:
    found: JSON = of.get("securityContext") or {}
    return found


def _quoted(items: Iterable[str]) -> str:
    return ", ".join(f'"{item}"' for item in items)


def _plural(word: str, items: Sequence[Any] | set[Any]) -> str:
    return word if len(items) == 1 else f"{word}s"


def _named(names: Sequence[str], word: str = "container") -> str:
    return f"{_plural(word, names)} {_quoted(names)}"


def _uses(names: Sequence[str]) -> str:
    return "uses" if len(names) == 1 else "use"


def _setters(spec: JSON, bad: Callable[[JSON], bool]) -> list[str]:
    """Who has a security context that ``bad`` finds fault with: ``pod``, ``container "a"``."""
    found = ["pod"] if bad(_context(spec)) else []
    names = _bad_containers(spec, bad)
    return [*found, _named(names)] if names else found


def _bad_containers(spec: JSON, bad: Callable[[JSON], bool]) -> list[str]:
    return [c.get("name", "") for c in _containers(spec) if bad(_context(c))]


# ---------------------------------------------------------------- baseline


def apparmor(metadata: JSON, spec: JSON) -> Violation | None:
    """AppArmor may not be switched off."""
    values: list[str] = []

    def bad(context: JSON) -> bool:
        profile = context.get("appArmorProfile")
        if profile is None or profile.get("type") in {"RuntimeDefault", "Localhost"}:
            return False
        values.append(profile.get("type", ""))
        return True

    setters = _setters(spec, bad)
    annotations = sorted(
        f"{key}={go_quoted(value)}"
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith("container.apparmor.security.beta.kubernetes.io/")
        and value not in {"", "runtime/default"}
        and not value.startswith("localhost/")
    )
    if annotations:
        setters.append(_plural("annotation", annotations))
    if not setters:
        return None
    listed = [*sorted(set(values)), *annotations]
    detail = f"{' and '.join(setters)} must not set AppArmor profile type to {_quoted(listed)}"
    return Violation(_plural("forbidden AppArmor profile", listed), detail)


_DEFAULT_CAPABILITIES = frozenset((
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
    "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
))  # fmt: skip


def capabilities_baseline(_metadata: JSON, spec: JSON) -> Violation | None:
    """No capability beyond what container runtimes give by default."""
    found = _added(spec, _DEFAULT_CAPABILITIES)
    return Violation("non-default capabilities", found) if found else None


def _added(spec: JSON, allowed: frozenset[str]) -> str:
    """The complaint about added capabilities, '' for none."""
    names: list[str] = []
    added: set[str] = set()
    for container in _containers(spec):
        wrong = set((_context(container).get("capabilities") or {}).get("add") or ()) - allowed
        if wrong:
            names.append(container.get("name", ""))
            added |= wrong
    if not names:
        return ""
    listed = _quoted(sorted(added))
    return f"{_named(names)} must not include {listed} in securityContext.capabilities.add"


def host_namespaces(_metadata: JSON, spec: JSON) -> Violation | None:
    """The node's namespaces are not shared."""
    fields = [f for f in ("hostNetwork", "hostPID", "hostIPC") if spec.get(f)]
    detail = ", ".join(f"{field}=true" for field in fields)
    return Violation("host namespaces", detail) if fields else None


def host_path_volumes(_metadata: JSON, spec: JSON) -> Violation | None:
    """No folder of the node."""
    names = [v.get("name", "") for v in spec.get("volumes") or () if v.get("hostPath") is not None]
    return Violation("hostPath volumes", _named(names, "volume")) if names else None


def host_ports(_metadata: JSON, spec: JSON) -> Violation | None:
    """No port of the node."""
    names: list[str] = []
    ports: set[str] = set()
    for container in _containers(spec):
        wrong = {str(p["hostPort"]) for p in container.get("ports") or () if p.get("hostPort")}
        if wrong:
            names.append(container.get("name", ""))
            ports |= wrong
    if not names:
        return None
    listed = f"{_plural('hostPort', ports)} {', '.join(sorted(ports))}"
    return Violation("hostPort", f"{_named(names)} {_uses(names)} {listed}")


def host_probes(_metadata: JSON, spec: JSON) -> Violation | None:
    """Probes and lifecycle handlers name no host."""
    names: set[str] = set()
    hosts: set[str] = set()
    for container in _containers(spec):
        lifecycle = container.get("lifecycle") or {}
        handlers = [
            container.get(f"{probe}Probe") for probe in ("liveness", "readiness", "startup")
        ]
        handlers += [lifecycle.get("postStart"), lifecycle.get("preStop")]
        wrong: set[str] = {
            host
            for handler in handlers
            if handler
            for way in ("httpGet", "tcpSocket")
            if (host := (handler.get(way) or {}).get("host"))
        }
        if wrong:
            names.add(container.get("name", ""))
            hosts |= wrong
    if not names:
        return None
    listed = f"{_plural('probe or lifecycle host', hosts)} {_quoted(sorted(hosts))}"
    who = sorted(names)
    return Violation("probe or lifecycle host", f"{_named(who)} {_uses(who)} {listed}")


def privileged(_metadata: JSON, spec: JSON) -> Violation | None:
    """No privileged container."""
    names = _bad_containers(spec, lambda context: context.get("privileged") is True)
    detail = f"{_named(names)} must not set securityContext.privileged=true"
    return Violation("privileged", detail) if names else None


def proc_mount(_metadata: JSON, spec: JSON) -> Violation | None:
    """/proc stays masked."""
    kinds: set[str] = set()

    def bad(context: JSON) -> bool:
        kind = context.get("procMount")
        if kind in {None, "Default"}:
            return False
        kinds.add(kind)
        return True

    names = _bad_containers(spec, bad)
    if not names:
        return None
    listed = _quoted(sorted(kinds))
    return Violation(
        "procMount", f"{_named(names)} must not set securityContext.procMount to {listed}"
    )


_TYPES = ("", "container_t", "container_init_t", "container_kvm_t")


def selinux(_metadata: JSON, spec: JSON, *, types: Sequence[str] = _TYPES) -> Violation | None:
    """SELinux labels are the runtime's, but for some types."""
    wrong_types: set[str] = set()
    fields: set[str] = set()

    def bad(context: JSON) -> bool:
        options = context.get("seLinuxOptions") or {}
        wrong = {name for name in ("user", "role") if options.get(name)}
        fields.update(wrong)
        if (kind := options.get("type") or "") not in types:
            wrong_types.add(kind)
            return True
        return bool(wrong)

    setters = _setters(spec, bad)
    if not setters:
        return None
    said = [f"{_plural('type', wrong_types)} {_quoted(sorted(wrong_types))}"] if wrong_types else []
    said += [f"{name} may not be set" for name in ("user", "role") if name in fields]
    start = f"{' and '.join(setters)} set forbidden securityContext.seLinuxOptions"
    return Violation("seLinuxOptions", f"{start}: {'; '.join(said)}")


selinux_1_31 = partial(selinux, types=(*_TYPES, "container_engine_t"))

_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"


def seccomp_annotations(metadata: JSON, spec: JSON) -> Violation | None:
    """Seccomp may not be switched off, in the form before 1.19."""
    annotations = metadata.get("annotations") or {}
    keys = [_SECCOMP_POD, *(f"{_SECCOMP_CONTAINER}{c.get('name', '')}" for c in _containers(spec))]
    wrong = {
        f"{key}={go_quoted(annotations[key])}"
        for key in keys
        if key in annotations
        and annotations[key] not in {"runtime/default", "docker/default"}
        and not annotations[key].startswith("localhost/")
    }
    if not wrong:
        return None
    listed = ", ".join(sorted(wrong))
    return Violation("seccompProfile", f"forbidden {_plural('annotation', wrong)} {listed}")


def _seccomp(context: JSON) -> str | None:
    """The type of a profile that is set, None without one."""
    profile = context.get("seccompProfile")
    return None if profile is None else profile.get("type", "")


_PROFILES = ("RuntimeDefault", "Localhost")


def seccomp_baseline(_metadata: JSON, spec: JSON) -> Violation | None:
    """Seccomp may not be switched off."""
    values: set[str] = set()

    def bad(context: JSON) -> bool:
        kind = _seccomp(context)
        if kind is None or kind in _PROFILES:
            return False
        values.add(kind)
        return True

    setters = _setters(spec, bad)
    if not setters:
        return None
    listed = _quoted(sorted(values))
    detail = f"{' and '.join(setters)} must not set securityContext.seccompProfile.type to {listed}"
    return Violation("seccompProfile", detail)


SYSCTLS_1_0 = frozenset((
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start",
))  # fmt: skip
SYSCTLS_1_27 = SYSCTLS_1_0 | {"net.ipv4.ip_local_reserved_ports"}
SYSCTLS_1_29 = SYSCTLS_1_27 | {
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
}  # fmt: skip
SYSCTLS_1_32 = SYSCTLS_1_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}
SYSCTLS_1_37 = SYSCTLS_1_32 | {
    "net.ipv4.tcp_slow_start_after_idle", "net.ipv4.tcp_notsent_lowat",
}  # fmt: skip


def sysctls(_metadata: JSON, spec: JSON, *, safe: frozenset[str]) -> Violation | None:
    """Only sysctls that are known to be safe."""
    wrong = [s["name"] for s in _context(spec).get("sysctls") or () if s["name"] not in safe]
    return Violation("forbidden sysctls", ", ".join(wrong)) if wrong else None


def windows_host_process(_metadata: JSON, spec: JSON) -> Violation | None:
    """No Windows container that is a process of the node."""
    setters = _setters(
        spec, lambda context: (context.get("windowsOptions") or {}).get("hostProcess") is True
    )
    detail = f"{' and '.join(setters)} must not set securityContext.windowsOptions.hostProcess=true"
    return Violation("hostProcess", detail) if setters else None


# ---------------------------------------------------------------- restricted


def privilege_escalation(_metadata: JSON, spec: JSON) -> Violation | None:
    """No process gains more privileges than its parent has."""
    names = _bad_containers(
        spec, lambda context: context.get("allowPrivilegeEscalation") is not False
    )
    detail = f"{_named(names)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", detail) if names else None


def capabilities_restricted(_metadata: JSON, spec: JSON) -> Violation | None:
    """All capabilities are dropped, one may be added."""
    names = _bad_containers(
        spec, lambda c: "ALL" not in ((c.get("capabilities") or {}).get("drop") or ())
    )
    said = [f'{_named(names)} must set securityContext.capabilities.drop=["ALL"]'] if names else []
    if added := _added(spec, frozenset(("NET_BIND_SERVICE",))):
        said.append(added)
    return Violation("unrestricted capabilities", "; ".join(said)) if said else None


_VOLUMES = (
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image", "persistentVolumeClaim",
    "projected", "secret",
)  # fmt: skip


def restricted_volumes(_metadata: JSON, spec: JSON) -> Violation | None:
    """Only volumes that come from the cluster."""
    names: list[str] = []
    kinds: set[str] = set()
    for volume in spec.get("volumes") or ():
        sources = [key for key, value in volume.items() if key != "name" and value is not None]
        if not any(source in _VOLUMES for source in sources):
            names.append(volume.get("name", ""))
            kinds.add(sources[0] if sources else "unknown")
    if not names:
        return None
    listed = f"{_plural('restricted volume type', kinds)} {_quoted(sorted(kinds))}"
    return Violation(
        "restricted volume types", f"{_named(names, 'volume')} {_uses(names)} {listed}"
    )


def run_as_non_root(_metadata: JSON, spec: JSON) -> Violation | None:
    """Containers say that they do not run as root."""
    reason = "runAsNonRoot != true"
    setters = _setters(spec, lambda context: context.get("runAsNonRoot") is False)
    if setters:
        detail = f"{' and '.join(setters)} must not set securityContext.runAsNonRoot=false"
        return Violation(reason, detail)
    if _context(spec).get("runAsNonRoot"):
        return None
    names = _bad_containers(spec, lambda context: context.get("runAsNonRoot") is None)
    detail = f"pod or {_named(names)} must set securityContext.runAsNonRoot=true"
    return Violation(reason, detail) if names else None


def run_as_user(_metadata: JSON, spec: JSON) -> Violation | None:
    """Nobody is user 0."""
    setters = _setters(spec, lambda context: context.get("runAsUser") == 0)
    detail = f"{' and '.join(setters)} must not set runAsUser=0"
    return Violation("runAsUser=0", detail) if setters else None


def seccomp_restricted(metadata: JSON, spec: JSON) -> Violation | None:
    """Seccomp is switched on."""
    if (wrong := seccomp_baseline(metadata, spec)) is not None:
        return wrong
    if _seccomp(_context(spec)) is not None:
        return None
    names = _bad_containers(spec, lambda context: _seccomp(context) is None)
    must = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Violation("seccompProfile", f"pod or {_named(names)} {must}") if names else None


# ---------------------------------------------------------------- relaxed


def unless_windows(control: Control) -> Control:
    """Since 1.25: pods of Windows cannot set what is asked for."""

    def relaxed(metadata: JSON, spec: JSON) -> Violation | None:
        return None if (spec.get("os") or {}).get("name") == "windows" else control(metadata, spec)

    return relaxed


def unless_user_namespace(control: Control) -> Control:
    """Since 1.35: root of a pod with a user namespace is nobody on the node."""

    def relaxed(metadata: JSON, spec: JSON) -> Violation | None:
        return None if spec.get("hostUsers") is False else control(metadata, spec)

    return relaxed
