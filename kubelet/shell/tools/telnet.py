"""telnet, as busybox's and inetutils' do without a terminal: bytes to a port and back."""

from __future__ import annotations

from podwire.kubelet.programs import names, web
from podwire.kubelet.shell.command import Command
from podwire.runtime.tasks import first


async def run(command: Command) -> int:
    """``telnet HOST [PORT]``; options of the protocol are not negotiated."""
    words = [word for word in command.args if not word.startswith("-")]
    if not words:
        return command.fail("usage: telnet HOST [PORT]")
    host, port = words[0], words[1] if len(words) > 1 else "23"
    if not port.isdigit() or not 0 < int(port) < 65536:
        return command.fail(f"bad port '{port}'")
    busybox = command.image.busybox
    found = await names.lookup(command.env, command.image.libc, host)
    if not found.addresses:
        if busybox:
            return command.fail(f"bad address '{host}'")
        return command.fail(f"could not resolve {host}/{port}: Name or service not known")
    ip, spec = found.addresses[0], command.spec
    if not busybox:
        command.out(f"Trying {ip}...\n")
    try:
        stream = await command.env.sockets.connect(
            spec.node, spec.netns, ip, int(port), web.CONNECT_TIMEOUT_S
        )
    except OSError as error:
        why = "Connection timed out" if isinstance(error, TimeoutError) else error.strerror
        if busybox:
            return command.fail(f"can't connect to remote host ({ip}): {why}")
        return command.fail(f"Unable to connect to remote host: {why}")
    command.out(f"Connected to {host}\n" if busybox else f"Connected to {host}.\n")
    if not busybox:
        command.out("Escape character is '^]'.\n")

    async def send() -> None:
        while data := await command.stdin.some():
            await stream.send(data.replace(b"\n", b"\r\n"))

    async def receive() -> None:
        try:
            while data := await stream.recv():
                command.write_out(data.replace(b"\r\n", b"\n"))
        except ConnectionResetError:
            return  # told as any other end

    which, _ = await first(send(), receive())
    await stream.close()
    if which == 0 and busybox:
        return 0  # no more to type
    end = "Connection closed by foreign host"
    command.out(f"{end}\r\n" if busybox else f"{end}.\n")
    return 1
