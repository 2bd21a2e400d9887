"""ps: the processes that /proc shows, and this command where a shell started it."""

from __future__ import annotations

from podwire.kubelet.shell.command import Command


async def run(command: Command) -> int:
    """``ps [OPTIONS]``: options are ignored; every process is shown."""
    rows: list[tuple[int, str, str]] = []
    for path in command.env.list_files("/proc"):
        pid, _, name = path.removeprefix("/proc/").partition("/")
        if pid.isdigit() and name == "status":
            words = command.env.read_file(f"/proc/{pid}/cmdline").decode(errors="replace")
            status = command.env.read_file(path).decode()
            uid = status.partition("Uid:\t")[2].partition("\t")[0]
            rows.append((int(pid), uid, words.rstrip("\0").replace("\0", " ")))
    own = " ".join(command.argv)
    if not any(pid == command.env.pid and text == own for pid, _, text in rows):
        last = max((pid for pid, _, _ in rows), default=1)
        rows.append((last + 1, str(command.spec.user.uid), own))
    command.out("PID   USER     TIME  COMMAND\n")
    for number, uid, text in sorted(rows):
        user = "root" if uid == "0" else uid
        command.out(f"{number:5} {user:8.8}  0:00 {text}\n")
    return 0
