"""What podwire knows of an image: its program, its C library, the commands found in it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from podwire.client.resolver import GLIBC

if TYPE_CHECKING:
    from podwire.kubelet.shell.command import Command

Program = Callable[["Command"], Awaitable[int]]
"""A program: runs until it returns its exit code."""


NODE_IMAGE = "podwire.dev/node"
"""Its commands are those found on a modelled node."""


@dataclass(frozen=True, slots=True)
class Image:
    """One modelled image (or family of images)."""

    name: str
    """What ``ProgramHost.describe`` says."""
    repositories: tuple[str, ...]
    """Ends of repository names, any registry: ``nginx`` also fits ``docker.io/library/nginx``."""
    entrypoint: tuple[str, ...] = ()
    """Put before the arguments when the container gives only arguments."""
    default: tuple[str, ...] = ()
    """Arguments (or the whole command, without an entrypoint) when the container gives none."""
    programs: Mapping[str, str | Program] = field(default_factory=dict)
    """Base name of a binary -> ``module`` of ``podwire.kubelet.programs`` that models it, or the
    coroutine itself (what users register).
    """
    tools: tuple[str, ...] | None = None
    """Commands of the mini-shell found in it; None: all."""
    libc: str = GLIBC
    busybox: bool = False
    """Whether nslookup, nc, wget, ping and the shell are busybox's."""
    uid: int | None = None
    """The user that it names (``USER``); None: not known."""
    stop_signal: str = ""
    """What asks its process to end (``STOPSIGNAL``), if it is not SIGTERM."""
    node: bool = False
    """Whether it is a node's own disk, with the tools that ask kubelet and container runtime."""
    generic: bool = False
    """Whether this is nobody's image: unknown binaries of process 1 run the generic program."""
