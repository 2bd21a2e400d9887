"""From a command's name to the code that models it, for one image."""

from __future__ import annotations

import importlib

from podwire.kubelet.programs.image import Image
from podwire.kubelet.shell.command import Tool
from podwire.kubelet.shell.tools import NODE_TOOLS, TOOLS

_DIRECTORIES = ("/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin")


def find(image: Image, name: str) -> Tool | None:
    """The tool or program behind a command word; None when the image has no such command.

    Modules are imported on first use: a boot that runs no command imports no tool.
    """
    directory, _, base = name.rpartition("/")
    program = image.programs.get(base)
    if program is not None and not isinstance(program, str):
        return program
    if program is not None:
        return _load(f"podwire.kubelet.programs.{program}")
    module = TOOLS.get(base)
    if module is None or (directory and directory not in _DIRECTORIES):
        return None
    if base in NODE_TOOLS and not image.node:
        return None
    if image.tools is not None and base not in image.tools:
        return None
    return _load(f"podwire.kubelet.shell.tools.{module}")


def _load(module: str) -> Tool:
    tool: Tool = importlib.import_module(module).run
    return tool
