"""Command lines on a node that are about the machine, not the network: files and identity.

Network tools are the kernel's (``Kernel.tool``); this is the rest of what ``podwire node exec``
needs to look around.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from podwire.client.counters import ToolResult
from podwire.fabric.host import KERNEL_VERSION, Host

Verb = Callable[[Host, str, Sequence[str], str], ToolResult]
"""(host, network namespace, words, stdin) -> result."""


def _proc(host: Host) -> dict[str, str]:
    info = host.info
    return {
        "/proc/version": f"Linux version {info.kernel_version} (podwire)\n",
        "/proc/sys/kernel/hostname": f"{info.name}\n",
        "/proc/sys/kernel/osrelease": f"{info.kernel_version}\n",
        "/proc/sys/kernel/random/boot_id": f"{info.boot_id}\n",
        "/proc/meminfo": f"MemTotal:       {info.memory_bytes // 1024} kB\n",
        "/proc/cpuinfo": "".join(
            f"processor\t: {n}\nmodel name\t: podwire modelled CPU\n\n" for n in range(info.cpus)
        ),
    }


def _read(host: Host, netns: str, path: str) -> str | None:
    """A file's text, from /proc or the disk; None when there is none."""
    if path.startswith(("/proc/", "/sys/class/net/")):
        from podwire.dataplane.tools import procfs  # noqa: PLC0415  loaded on first use

        return _proc(host).get(path) or procfs.read(host.kernel, netns, path)
    try:
        return host.disk.read(path).decode(errors="replace")
    except FileNotFoundError:
        return None


def _cat(host: Host, netns: str, paths: Sequence[str], stdin: str) -> ToolResult:
    if not paths:
        return ToolResult(stdin)
    out: list[str] = []
    err: list[str] = []
    for path in paths:
        text = stdin if path == "-" else _read(host, netns, path)
        if text is not None:
            out.append(text)
        elif host.disk.is_folder(path):
            err.append(f"cat: {path}: Is a directory\n")
        else:
            err.append(f"cat: {path}: No such file or directory\n")
    return ToolResult("".join(out), "".join(err), 1 if err else 0)


def _ls(host: Host, netns: str, argv: Sequence[str], _stdin: str) -> ToolResult:
    paths = [arg for arg in argv if not arg.startswith("-")] or ["/"]
    out: list[str] = []
    err: list[str] = []
    for path in paths:
        if _read(host, netns, path) is not None:
            out.append(f"{path}\n")
        elif host.disk.is_folder(path):
            names = host.disk.entries(path)
            heading = f"{path}:\n" if len(paths) > 1 else ""
            out.append(heading + "".join(f"{name}\n" for name in names))
        else:
            err.append(f"ls: cannot access '{path}': No such file or directory\n")
    return ToolResult("".join(out), "".join(err), 2 if err else 0)


def _hostname(host: Host, _netns: str, _argv: Sequence[str], _stdin: str) -> ToolResult:
    return ToolResult(f"{host.info.name}\n")


def _uname(host: Host, _netns: str, argv: Sequence[str], _stdin: str) -> ToolResult:
    flags = "".join(arg[1:] for arg in argv if arg.startswith("-") and arg[1:2] != "-") or "s"
    parts = {
        "s": "Linux",
        "n": host.info.name,
        "r": KERNEL_VERSION,
        "v": "#1 SMP podwire",
        "m": "x86_64",
        "o": "GNU/Linux",
    }
    if "a" in flags:
        return ToolResult(" ".join(parts.values()) + "\n")
    unknown = [flag for flag in flags if flag not in parts]
    if unknown:
        return ToolResult("", f"uname: invalid option -- '{unknown[0]}'\n", 1)
    return ToolResult(" ".join(parts[flag] for flag in parts if flag in flags) + "\n")


VERBS: dict[str, Verb] = {"cat": _cat, "ls": _ls, "hostname": _hostname, "uname": _uname}


def run(host: Host, netns: str, argv: Sequence[str], stdin: str) -> ToolResult | None:
    """Run a command about the machine; None when it is not one of these."""
    verb = VERBS.get(argv[0].rpartition("/")[2]) if argv else None
    return verb(host, netns, argv[1:], stdin) if verb is not None else None
