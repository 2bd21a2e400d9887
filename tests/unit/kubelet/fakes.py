"""A node that only remembers: disk, commands, CNI calls, and sockets in memory."""

import asyncio
import errno
import json

from podwire.client.counters import CniOutput, NodeInfo
from podwire.dataplane import commands as c


class FakeFabric:
    """Counter 2 for one node."""

    def __init__(self):
        self.disk = {"/etc/resolv.conf": b"nameserver 192.168.0.1\n", "/etc/hosts": b"# node\n"}
        self.log = []
        self.boot_id = "boot-1"
        self._watches = []

    async def node(self, node):
        return NodeInfo(
            node, "192.168.0.11", "02:00:00:00:00:0b", self.boot_id, "machine-1", 4, 2**33, "6.12"
        )

    async def execute(self, node, commands):
        self.log.extend(commands)

    async def read_file(self, node, path):
        try:
            return self.disk[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    async def write_file(self, node, path, data):
        self.disk[path] = data
        self._tell(path)

    async def remove_file(self, node, path):
        if self.disk.pop(path, None) is not None:
            self._tell(path)

    async def list_files(self, node, prefix):
        return sorted(path for path in self.disk if path.startswith(prefix))

    async def watch_files(self, node, prefix):
        queue = asyncio.Queue()
        for path in sorted(self.disk):
            queue.put_nowait(path)
        self._watches.append(queue)
        while True:
            path = await queue.get()
            if path.startswith(prefix):
                yield path

    def _tell(self, path):
        for queue in self._watches:
            queue.put_nowait(path)

    def netns(self):
        """The namespaces that exist now."""
        made = [x.name for x in self.log if isinstance(x, c.NetnsAdd)]
        gone = [x.name for x in self.log if isinstance(x, c.NetnsDel)]
        return [name for name in made if name not in gone]


class FakeCni:
    """Counter 4: hands out addresses, fails on demand, remembers calls."""

    def __init__(self):
        self.calls = []
        self.fail_adds = 0
        self.netns_of = {"192.168.0.11": ""}
        self._next = 2

    async def execute(self, node, plugin, env, stdin):
        conf = json.loads(stdin)
        self.calls.append((env["CNI_COMMAND"], plugin, dict(env), conf))
        if env["CNI_COMMAND"] == "DEL":
            return CniOutput(b"", 0)
        if self.fail_adds:
            self.fail_adds -= 1
            message = "open /run/flannel/subnet.env: no such file or directory"
            return CniOutput(json.dumps({"code": 999, "msg": message}).encode(), 1)
        if "prevResult" in conf:
            return CniOutput(json.dumps(conf["prevResult"]).encode(), 0)
        address = f"10.244.0.{self._next}"
        self._next += 1
        self.netns_of[address] = env["CNI_NETNS"].rpartition("/")[2]
        return CniOutput(json.dumps({"ips": [{"address": f"{address}/24"}]}).encode(), 0)

    async def available(self):
        """Always: it is in the same process."""

    def verbs(self):
        return [(verb, plugin) for verb, plugin, _, _ in self.calls]


class FakeStream:
    def __init__(self, local, remote):
        self.local, self.remote = local, remote
        self.inbox = asyncio.Queue()
        self.peer = None

    async def send(self, data):
        self.peer.inbox.put_nowait(data)

    async def recv(self):
        return await self.inbox.get()

    async def close(self):
        self.peer.inbox.put_nowait(b"")

    def abort(self):
        self.peer.inbox.put_nowait(b"")


class FakeListener:
    def __init__(self, sockets, key):
        self.local = ("", key[1])
        self.queue = asyncio.Queue()
        self._sockets, self._key = sockets, key

    async def accept(self):
        stream = await self.queue.get()
        if stream is None:
            raise OSError(errno.EBADF, "closed")
        return stream

    def close(self):
        self._sockets.listeners.pop(self._key, None)
        self.queue.put_nowait(None)


class FakeSockets:
    """Counter 3: TCP between namespaces, found by the addresses CNI gave."""

    def __init__(self, cni, clock):
        self.listeners = {}
        self.owners = {}
        self.silent = False
        self._cni, self._clock = cni, clock

    def owned_by(self, owner):
        return Owned(self, owner)

    def release(self, owner):
        for listener in self.owners.pop(owner, []):
            listener.close()

    async def listen(self, node, netns, address, port):
        if (netns, port) in self.listeners:
            raise OSError(errno.EADDRINUSE, "Address already in use")
        listener = self.listeners[netns, port] = FakeListener(self, (netns, port))
        return listener

    async def connect(self, node, netns, address, port, timeout_s, source_port=0):
        if self.silent:
            await self._clock.sleep(timeout_s)
            raise TimeoutError
        listener = self.listeners.get((self._cni.netns_of.get(address), port))
        if listener is None:
            raise ConnectionRefusedError
        ours, theirs = FakeStream(("", 0), (address, port)), FakeStream((address, port), ("", 0))
        ours.peer, theirs.peer = theirs, ours
        listener.queue.put_nowait(theirs)
        return ours


class Owned:
    """The counter for one process."""

    def __init__(self, sockets, owner):
        self._sockets, self._owner = sockets, owner

    async def listen(self, node, netns, address, port):
        listener = await self._sockets.listen(node, netns, address, port)
        self._sockets.owners.setdefault(self._owner, []).append(listener)
        return listener
