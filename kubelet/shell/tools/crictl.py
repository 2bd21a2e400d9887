"""crictl 1.34: what the node's container runtime holds; changing it is kubelet's alone.

Source of columns and words: kubernetes-sigs/cri-tools cmd/crictl (display.go, container.go).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from podwire.api.times import format_time
from podwire.api.view import JSON
from podwire.client.counters import LogOptions
from podwire.kubelet.shell.command import Command, UsageError
from podwire.kubelet.shell.tools.crictl_options import Options, options_of
from podwire.kubelet.text import human_age, human_size

if TYPE_CHECKING:
    from podwire.kubelet.programs.env import NodeTools

SHORT = 13
"""Characters of an id in a table."""
_REFUSED = (
    "rmi", "rm", "rmp", "stop", "stopp", "start", "create", "run", "runp", "update", "pull",
    "checkpoint",
)  # fmt: skip
"""What changes the runtime: kubelet would not know of it."""
_OTHERS = ("attach", "events", "port-forward", "statsp", "metricsp", "config", "completion",
           "runtime-config", "update-runtime-config")  # fmt: skip
_STATES = {"CONTAINER_RUNNING": "Running", "CONTAINER_EXITED": "Exited", "SANDBOX_READY": "Ready",
           "SANDBOX_NOTREADY": "NotReady"}  # fmt: skip


async def run(command: Command) -> int:
    """``crictl [ps|pods|images|inspect|inspectp|inspecti|logs|exec|stats|info|version] ...``."""
    try:
        return await _run(command)
    except UsageError as error:
        return _fatal(command, str(error))


def _fatal(command: Command, message: str) -> int:
    """Logrus' words where stderr is no terminal."""
    now = format_time(command.env.clock.now_ns())
    command.err(f'time="{now}" level=fatal msg={json.dumps(message)}\n')
    return 1


async def _run(command: Command) -> int:
    runtime = command.env.node
    if runtime is None:
        raise UsageError("not modelled: here is no node's runtime")
    options = options_of(command.args)
    verb = options.verb
    if verb in _REFUSED:
        raise UsageError(f"not modelled: {verb} (containers are kubelet's; change the Pod)")
    if verb in {"logs", "exec"}:
        return await (_logs if verb == "logs" else _exec)(command, runtime, options)
    tell = _VERBS.get(verb)
    if tell is None:
        known = "not modelled" if verb in _OTHERS else "unknown command"
        raise UsageError(f"{known}: {verb or 'no command'}")
    command.out(tell(command, runtime, options))
    return 0


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Go's tabwriter(20, 1, 3, ' '): cells at least 20 wide, 3 apart; the last is not padded."""
    lines = [header, *rows]
    widths = [max(20, *(len(line[i]) + 3 for line in lines)) for i in range(len(header) - 1)]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True)) + "\n"
        for line in lines
    )


def _json(value: JSON | list[JSON]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _short(id: str, options: Options) -> str:
    return id if options.flag("no-trunc") else id.removeprefix("sha256:")[:SHORT]


def _age(command: Command, created_ns: str) -> str:
    return human_age(command.env.clock.now_ns() - int(created_ns)) + " ago"


def _kept(found: list[JSON], options: Options, name: str) -> list[JSON]:
    """Those that --name, --state, --label and the id ask for."""
    for key, value in (("name", name), ("namespace", "io.kubernetes.pod.namespace")):
        text = options.value(key)
        if text:
            wanted = _pattern(text)
            found = [one for one in found if wanted.search(one["labels"].get(value, ""))]
    state, label = options.value("state").lower(), options.value("label")
    if state:
        found = [one for one in found if one["state"].lower().rpartition("_")[2] == state]
    if label:
        key, _, value = label.partition("=")
        found = [one for one in found if one["labels"].get(key) == value]
    if options.value("id"):
        found = [one for one in found if one["id"].startswith(options.value("id"))]
    limit = 1 if options.flag("latest") else int(options.value("last") or len(found))
    found = sorted(found, key=lambda one: -int(one["createdAt"]))
    return found[:limit]


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise UsageError(f"bad regular expression {text!r}: {error}") from None


def _ps(command: Command, runtime: NodeTools, options: Options) -> str:
    found = _kept(runtime.containers(), options, "io.kubernetes.container.name")
    pod, image = options.value("pod"), options.value("image")
    found = [
        one for one in found
        if one["podSandboxId"].startswith(pod)
        and image in one["image"]["userSpecifiedImage"] + one["imageRef"]
        and (one["state"] == "CONTAINER_RUNNING" or options.all)
    ]  # fmt: skip
    if options.flag("quiet"):
        return "".join(f"{one['id']}\n" for one in found)
    if options.value("output") == "json":
        return _json({"containers": found})
    header = ("CONTAINER", "IMAGE", "CREATED", "STATE", "NAME", "ATTEMPT", "POD ID", "POD",
              "NAMESPACE")  # fmt: skip
    rows = [
        (
            _short(one["id"], options),
            one["image"]["userSpecifiedImage"] if options.flag("resolve-image-path")
            else _short(one["imageRef"], options),
            _age(command, one["createdAt"]),
            _STATES[one["state"]],
            one["metadata"]["name"],
            str(one["metadata"]["attempt"]),
            _short(one["podSandboxId"], options),
            one["labels"]["io.kubernetes.pod.name"],
            one["labels"]["io.kubernetes.pod.namespace"],
        )
        for one in found
    ]  # fmt: skip
    return _table(header, rows)


def _pods(command: Command, runtime: NodeTools, options: Options) -> str:
    found = _kept(runtime.pods(), options, "io.kubernetes.pod.name")
    if options.flag("quiet"):
        return "".join(f"{one['id']}\n" for one in found)
    if options.value("output") == "json":
        return _json({"items": found})
    header = ("POD ID", "CREATED", "STATE", "NAME", "NAMESPACE", "ATTEMPT", "RUNTIME")
    rows = [
        (
            _short(one["id"], options),
            _age(command, one["createdAt"]),
            _STATES[one["state"]],
            one["metadata"]["name"],
            one["metadata"]["namespace"],
            str(one["metadata"]["attempt"]),
            one["runtimeHandler"] or "(default)",
        )
        for one in found
    ]
    return _table(header, rows)


def _images(_command: Command, runtime: NodeTools, options: Options) -> str:
    found, wanted = runtime.images(), options.rest
    if wanted:
        found = [one for one in found if any(wanted[0] in tag for tag in one["repoTags"])]
    if options.flag("quiet"):
        return "".join(f"{one['id']}\n" for one in found)
    if options.value("output") == "json":
        return _json({"images": found})
    rows = []
    for one in found:
        for full in one["repoTags"] or [one["repoDigests"][0].partition("@")[0] + ":<none>"]:
            repository, _, tag = full.rpartition(":")
            rows.append((repository, tag, _short(one["id"], options), human_size(int(one["size"]))))
    return _table(("IMAGE", "TAG", "IMAGE ID", "SIZE"), rows)


def _found(found: list[JSON], prefix: str, what: str) -> JSON:
    """The one whose id begins so. Raises UsageError in the words of the runtime."""
    fits = [one for one in found if one["id"].removeprefix("sha256:").startswith(prefix)]
    if len(fits) != 1 or not prefix:
        raise UsageError(
            f"rpc error: code = NotFound desc = an error occurred when try to find {what} "
            f'"{prefix}": not found'
        )
    return fits[0]


def _inspect(_command: Command, runtime: NodeTools, options: Options) -> str:
    return _inspected(runtime, runtime.containers(), options, "container")


def _inspectp(_command: Command, runtime: NodeTools, options: Options) -> str:
    return _inspected(runtime, runtime.pods(), options, "sandbox")


def _inspected(runtime: NodeTools, found: list[JSON], options: Options, what: str) -> str:
    if not options.rest:
        raise UsageError("ID cannot be empty")
    told = [runtime.status(_found(found, prefix, what)["id"]) for prefix in options.rest]
    return _json(told[0] if len(told) == 1 else told)


def _inspecti(_command: Command, runtime: NodeTools, options: Options) -> str:
    found = runtime.images()
    for name in options.rest:
        fits = [one for one in found if name in (one["id"], *one["repoTags"], *one["repoDigests"])]
        fits = fits or [one for one in found if one["id"].removeprefix("sha256:").startswith(name)]
        fits = fits or [
            one for one in found if f"docker.io/library/{name}:latest" in one["repoTags"]
        ]
        if not fits:
            raise UsageError(f'no such image "{name}" present')
        return _json({"status": fits[0], "info": {}})
    raise UsageError("ID cannot be empty")


def _stats(_command: Command, runtime: NodeTools, options: Options) -> str:
    rows = []
    for one in _kept(runtime.containers(), options, "io.kubernetes.container.name"):
        used = runtime.usage(one["id"])
        if used is None:
            continue
        cpu = f"{used[0] / 10**7:.2f}"
        name = one["metadata"]["name"]
        rows.append((_short(one["id"], options), name, cpu, human_size(used[1]), "-", "-", "-"))
    # Disks are not modelled: "-" where crictl tells bytes and inodes.
    return _table(("CONTAINER", "NAME", "CPU %", "MEM", "DISK", "INODES", "SWAP"), rows)


def _info(_command: Command, runtime: NodeTools, _options: Options) -> str:
    ready = runtime.network_ready()
    network = {
        "type": "NetworkReady", "status": ready, "reason": "" if ready else "NetworkPluginNotReady",
        "message": "" if ready
        else "Network plugin returns error: cni plugin not initialized",
    }  # fmt: skip
    runtime_ready = {"type": "RuntimeReady", "status": True, "reason": "", "message": ""}
    return _json({"status": {"conditions": [runtime_ready, network]}})


def _version(_command: Command, _runtime: NodeTools, _options: Options) -> str:
    return (
        "Version:  0.1.0\nRuntimeName:  containerd\nRuntimeVersion:  v2.1.4\n"
        "RuntimeApiVersion:  v1\n"
    )


_VERBS = {
    "ps": _ps, "pods": _pods, "images": _images, "image": _images, "img": _images,
    "inspect": _inspect, "inspectp": _inspectp, "inspecti": _inspecti, "stats": _stats,
    "info": _info, "version": _version,
}  # fmt: skip


async def _logs(command: Command, runtime: NodeTools, options: Options) -> int:
    if not options.rest:
        raise UsageError("ID cannot be empty")
    one = _found(runtime.containers(), options.rest[0], "container")
    tail = options.value("tail")
    wanted = LogOptions(
        follow=options.flag("follow"),
        timestamps=options.flag("timestamps"),
        tail_lines=int(tail) if tail.isdigit() else None,
    )
    try:
        lines = runtime.log(one["id"], wanted)
    except KeyError:
        raise UsageError(f'failed to try resolving symlinks in path of "{one["id"]}"') from None
    async for chunk in lines:
        command.write_out(chunk)
    return 0


async def _exec(command: Command, runtime: NodeTools, options: Options) -> int:
    if len(options.rest) < 2:
        raise UsageError("crictl exec CONTAINER-ID COMMAND [ARG...]")
    one = _found(runtime.containers(), options.rest[0], "container")
    try:
        session = runtime.execute(one["id"], options.rest[1:])
    except KeyError:
        raise UsageError(f"container {one['id']} is not running") from None
    try:
        await session.send_stdin(await command.stdin.all() if options.flag("interactive") else b"")
        await session.send_stdin(b"")
        async for stream, data in session.output():
            (command.write_out if stream == 1 else command.write_err)(data)
        code = await session.wait()
    finally:
        session.cancel()
    if code:
        return _fatal(
            command, f"execing command in container: command terminated with exit code {code}"
        )
    return 0
