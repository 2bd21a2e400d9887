"""Users' own modelled programs: in Python, or from YAML.

::

    from podwire.testing import program

    @program("example.com/shop/cart")
    async def cart(command):
        '''What containers of this image run; returns the exit code.'''

Packages that bring programs along name a module in the entry point group ``podwire.programs``; it
is imported before the first container starts. ``docs/programs.md`` has examples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from podwire.kubelet.programs.image import Image, Program


def program(
    *repositories: str, entrypoint: str = "", busybox: bool = False
) -> Callable[[Program], Program]:
    """Register a coroutine as what images of these repositories run (any registry, any tag).

    ``entrypoint`` is the binary's path, by default the function's name; ``busybox`` says that the
    tools beside it are busybox's.
    """
    from podwire.client.resolver import GLIBC, MUSL  # noqa: PLC0415  heavy: only when used
    from podwire.kubelet.programs.image import Image  # noqa: PLC0415
    from podwire.kubelet.programs.registry import register  # noqa: PLC0415

    def made(run: Program) -> Program:
        name: str = getattr(run, "__name__", "program")
        path = entrypoint or f"/{name}"
        image = Image(
            name, repositories, entrypoint=(path,), programs={path.rpartition("/")[2]: run},
            libc=MUSL if busybox else GLIBC, busybox=busybox,
        )  # fmt: skip
        register(image)
        return run

    return made


def load_programs(*paths: str | Path) -> Sequence[Image]:
    """Register the programs that YAML files describe. Raises DescriptionError, OSError."""
    from podwire.kubelet.programs import described  # noqa: PLC0415  heavy: only when used
    from podwire.kubelet.programs.registry import register  # noqa: PLC0415

    found = described.images([str(path) for path in paths])
    for image in found:
        register(image)
    return found


@contextmanager
def programs_from(*paths: str | Path) -> Iterator[Sequence[Image]]:
    """``load_programs`` for the length of a test."""
    from podwire.kubelet.programs.registry import unregister  # noqa: PLC0415

    found = load_programs(*paths)
    try:
        yield found
    finally:
        for image in found:
            unregister(image)
