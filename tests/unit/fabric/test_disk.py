"""Node disks, their watchers, and the commands that look around on a node."""

from __future__ import annotations

import pytest

from podwire.client.counters import ToolResult
from podwire.dataplane.commands import LinkAdd
from podwire.fabric.hardware import Fabric
from podwire.runtime.env import Env
from podwire.runtime.tasks import Nursery
from tests.unit.fabric.world import bare, run

CONFLIST = "/etc/cni/net.d/10-flannel.conflist"


def test_a_watcher_hears_of_what_exists_and_of_every_change() -> None:
    async def story(env: Env) -> list[str]:
        fabric = bare(env)
        await fabric.write_file("node-1", CONFLIST, b"{}")
        await fabric.write_file("node-1", "/etc/other", b"")
        heard = []

        async def watch() -> None:
            async for path in fabric.watch_files("node-1", "/etc/cni/net.d/"):
                heard.append(path)  # noqa: PERF401  each as it comes

        async with Nursery() as nursery:
            nursery.start(watch(), name="watch")
            await env.clock.sleep(1)
            assert heard == [CONFLIST]
            await fabric.write_file("node-1", "/etc/cni/net.d/20-x.conflist", b"{}")
            await fabric.write_file("node-2", "/etc/cni/net.d/30-y.conflist", b"{}")
            await env.clock.sleep(1)
            await fabric.remove_file("node-1", CONFLIST)
            await fabric.remove_file("node-1", CONFLIST)
            await env.clock.sleep(1)
            nursery.cancel()
        return heard

    assert run(story) == [CONFLIST, "/etc/cni/net.d/20-x.conflist", CONFLIST]


def test_changes_between_two_looks_are_told_once() -> None:
    async def story(env: Env) -> list[str]:
        fabric = bare(env)
        watch = fabric.watch_files("node-1", "/run/")
        await fabric.write_file("node-1", "/run/a", b"0")
        first = await anext(watch)
        for n in range(5):
            await fabric.write_file("node-1", "/run/a", b"%d" % n)
        await fabric.write_file("node-1", "/run/b", b"")
        return [first, await anext(watch), await anext(watch)]

    assert run(story) == ["/run/a", "/run/a", "/run/b"]


def test_a_missing_file_is_file_not_found() -> None:
    async def story(env: Env) -> None:
        fabric = bare(env)
        with pytest.raises(FileNotFoundError, match="/nowhere"):
            await fabric.read_file("node-1", "/nowhere")
        with pytest.raises(LookupError, match="node-9"):
            await fabric.read_file("node-9", "/etc/hosts")

    run(story)


def test_a_node_boots_with_resolver_hosts_and_hostname() -> None:
    async def story(env: Env) -> list[str]:
        fabric = bare(env)
        return [
            (await fabric.read_file("node-2", path)).decode()
            for path in ("/etc/resolv.conf", "/etc/hosts", "/etc/hostname")
        ]

    assert run(story) == [
        "nameserver 192.168.0.1\n",
        "127.0.0.1 localhost\n192.168.0.12 node-2\n",
        "node-2\n",
    ]


async def tool(fabric: Fabric, *argv: str) -> ToolResult:
    return await fabric.tool("node-1", "", argv)


def test_one_can_look_around_on_a_node() -> None:
    async def story(env: Env) -> None:
        fabric = bare(env)
        await fabric.write_file("node-1", CONFLIST, b'{"name": "cbr0"}\n')
        assert (await tool(fabric, "cat", CONFLIST)).stdout == '{"name": "cbr0"}\n'
        assert (await tool(fabric, "ls", "/etc/cni/net.d")).stdout == "10-flannel.conflist\n"
        assert "cni\n" in (await tool(fabric, "ls", "/etc")).stdout
        assert (await tool(fabric, "hostname")).stdout == "node-1\n"
        assert (await tool(fabric, "uname", "-r")).stdout == "6.12.0-podwire\n"
        assert (await tool(fabric, "/usr/bin/uname", "-a")).stdout.startswith("Linux node-1 6.12")
        info = await fabric.node("node-1")
        boot_id = await tool(fabric, "cat", "/proc/sys/kernel/random/boot_id")
        assert boot_id.stdout == info.boot_id + "\n"

    run(story)


def test_looking_for_what_is_not_there_fails_as_tools_do() -> None:
    async def story(env: Env) -> None:
        fabric = bare(env)
        assert await tool(fabric, "cat", "/no", "/etc") == ToolResult(
            "", "cat: /no: No such file or directory\ncat: /etc: Is a directory\n", 1
        )
        assert await tool(fabric, "ls", "/no") == ToolResult(
            "", "ls: cannot access '/no': No such file or directory\n", 2
        )
        assert (await tool(fabric, "uname", "-z")).code == 1

    run(story)


def test_a_reboot_keeps_the_disk_and_forgets_the_kernel() -> None:
    async def story(env: Env) -> None:
        fabric = bare(env)
        await fabric.write_file("node-1", CONFLIST, b"{}")
        before = await fabric.node("node-1")
        listener = await fabric.listen("node-1", "", "", 80)
        fabric.power_off("node-1")
        with pytest.raises(OSError):
            await listener.accept()
        with pytest.raises(ConnectionError):
            await fabric.execute("node-1", [])
        after = fabric.power_on("node-1")
        assert before.boot_id != after.boot_id
        assert before.machine_id == after.machine_id
        assert await fabric.read_file("node-1", CONFLIST) == b"{}"
        with pytest.raises(ConnectionRefusedError):
            await fabric.connect("node-2", "", "192.168.0.11", 80, timeout_s=1)

    run(story)


def test_a_watcher_below_sys_hears_of_devices_that_come_and_go() -> None:
    """By a command of an agent or of a person."""

    async def main(env: Env) -> list[str]:
        fabric = bare(env)
        told: list[str] = []

        async def watch() -> None:
            async for path in fabric.watch_files("node-1", "/sys/class/net/"):
                told.append(path)  # noqa: PERF401  each as it comes

        async with Nursery() as nursery:
            nursery.start(watch(), name="watch")
            await env.clock.sleep(0.1)
            await fabric.execute("node-1", [LinkAdd(name="kube-ipvs0", kind="dummy")])
            await env.clock.sleep(0.1)
            await fabric.tool("node-1", "", ("ip", "link", "del", "kube-ipvs0"))
            await env.clock.sleep(0.1)
            nursery.cancel()
        return told

    assert run(main) == ["/sys/class/net/kube-ipvs0"] * 2
