"""md5sum, sha1sum, sha256sum, sha512sum, cksum-like digests; base64."""

from __future__ import annotations

import base64
import binascii
import hashlib

from podwire.kubelet.shell.command import Command, UsageError

COLUMNS = 76


async def run(command: Command) -> int:
    """``md5sum [FILE...]``, ``base64 [-d] [-w COLUMNS] [FILE]``; checking sums is not modelled."""
    if command.name == "base64":
        return await _base64(command)
    names = [arg for arg in command.args if arg == "-" or not arg.startswith("-")]
    if len(names) < len(command.args):
        return command.fail("options are not modelled")
    for name, data in await command.inputs(names):
        digest = hashlib.new(command.name.removesuffix("sum"), data, usedforsecurity=False)
        command.out(f"{digest.hexdigest()}  {name}\n")
    return 0


async def _base64(command: Command) -> int:
    args, decode, columns, names = list(command.args), False, COLUMNS, []
    while args:
        arg = args.pop(0)
        if arg in {"-d", "-D", "--decode"}:
            decode = True
        elif arg.startswith(("-w", "--wrap")):
            text = arg.partition("=")[2] if "=" in arg else arg[2:] or (args.pop(0) if args else "")
            if not text.isdecimal():
                raise UsageError(f"invalid wrap size: '{text}'")
            columns = int(text)
        else:
            names.append(arg)
    ((_, data),) = await command.inputs(names[:1])
    if decode:
        try:
            command.write_out(base64.b64decode(b"".join(data.split()), validate=True))
        except (binascii.Error, ValueError):
            return command.fail("invalid input")
        return 0
    text = base64.b64encode(data).decode()
    step = columns or len(text) or 1
    lines = [text[i : i + step] for i in range(0, len(text), step)]
    command.out("\n".join(lines) + ("\n" if columns and lines else ""))
    return 0
