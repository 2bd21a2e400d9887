"""dd: blocks from a file, a device or stdin to a file or stdout."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.devices import device

_UNITS = {"c": 1, "w": 2, "b": 512, "k": 1024, "K": 1024, "M": 1024**2, "G": 1024**3}
MAX_BYTES = 64 * 1024 * 1024
_KNOWN = ("if", "of", "bs", "ibs", "obs", "count", "skip", "seek", "conv", "status", "iflag",
          "oflag")  # fmt: skip


def _size(text: str) -> int:
    """``1M``, ``4k``, ``512``. Raises UsageError."""
    digits = text.rstrip("".join(_UNITS) + "iB")
    unit = text[len(digits) :][:1]
    if not digits.isdecimal() or len(digits) > 12:
        raise UsageError(f"invalid number: '{text}'")
    return int(digits) * _UNITS.get(unit, 1)


async def run(command: Command) -> int:
    """``dd [if=F] [of=F] [bs=N] [count=N] [skip=N] [seek=N] [conv=notrunc] [status=none]``."""
    options: dict[str, str] = {}
    for arg in command.args:
        name, equals, value = arg.partition("=")
        if not equals or name not in _KNOWN:
            raise UsageError(f"unrecognized operand '{arg}'")
        options[name] = value
    block = _size(options.get("bs") or options.get("ibs") or "512")
    count = _size(options["count"]) if "count" in options else None
    if not block:
        raise UsageError("invalid number: '0'")
    wanted = None if count is None else block * count
    start = block * _size(options.get("skip", "0"))
    data = await _input(command, options.get("if", ""), wanted, start)
    begun_ns = command.env.clock.monotonic_ns()
    if "of" in options:
        await _output(command, options, data, block)
    else:
        command.write_out(data)
        await command.env.drained()
    if options.get("status") != "none":
        whole, part = divmod(len(data), block)
        records = f"{whole}+{int(part > 0)} records"
        command.err(f"{records} in\n{records} out\n")
        if options.get("status") != "noxfer":
            seconds = (command.env.clock.monotonic_ns() - begun_ns) / 1e9
            rate = len(data) / max(seconds, 1e-6) / 1e6
            command.err(f"{len(data)} bytes copied, {seconds:.6g} s, {rate:.1f} MB/s\n")
    return 0


async def _input(command: Command, name: str, wanted: int | None, start: int) -> bytes:
    limit = MAX_BYTES if wanted is None else start + wanted
    if limit > MAX_BYTES:
        raise UsageError(f"more than {MAX_BYTES} bytes: not modelled")
    endless = device(command, name, limit) if name else None
    if endless is not None:
        if wanted is None and endless:
            raise UsageError(f"'{name}' has no end: set count")
        return endless[start:]
    if name:
        try:
            return command.read_file(name)[start:limit]
        except UsageError as error:
            raise UsageError(f"failed to open {error}") from None
    found = bytearray()
    while len(found) < limit and (data := await command.stdin.some()):
        found += data
    return bytes(found[start:limit])


async def _output(command: Command, options: dict[str, str], data: bytes, block: int) -> None:
    path = command.path(options["of"])
    if path == "/dev/null":
        return
    if path in {"/dev/stdout", "/dev/stderr"}:
        (command.write_out if path == "/dev/stdout" else command.write_err)(data)
        return
    at = block * _size(options.get("seek", "0"))
    keep = "notrunc" in options.get("conv", "")
    before = b""
    if at or keep:
        try:
            before = command.read_file(options["of"])
        except UsageError:
            before = b""
    if at > MAX_BYTES:
        raise UsageError(f"more than {MAX_BYTES} bytes: not modelled")
    head = before[:at].ljust(at, b"\0")
    tail = before[at + len(data) :] if keep else b""
    try:
        await command.env.write_file(path, head + data + tail)
    except OSError as error:
        raise UsageError(f"failed to open '{options['of']}': {error.strerror or error}") from None
