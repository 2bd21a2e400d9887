"""The six counters at which rooms meet, as Protocols.

1. ``Api``            any room  -> apiserver   (HTTP-shaped requests and answers)
2. ``Fabric``         node agents -> fabric    (kernel commands, queries, node disk, walks)
3. ``Sockets``        programs  -> fabric      (TCP and UDP of a network namespace)
4. ``Cni``            kubelet   -> cni         (environment and stdin in, stdout and code out)
5. ``ContainerHost``  kubelet   -> any room that implements an image
6. ``KubeletStreams`` apiserver -> kubelet     (exec, attach, logs, ports, name lookup)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from podwire.dataplane.commands import Command
from podwire.dataplane.verdict import WalkAnswer, WalkRequest

# ---------------------------------------------------------------- 1. the API


@dataclass(frozen=True, slots=True)
class User:
    """Who asks. ``groups`` holds system:authenticated, or system:unauthenticated for anonymous."""

    name: str
    groups: tuple[str, ...] = ("system:authenticated",)
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What else the credential says, sorted by key (authentication.kubernetes.io/pod-name ...)."""


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))
"""Who sent no credentials."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP-shaped request. ``path`` carries no query; header names are lower case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    user: User | None = None
    client: str = ""
    """The address it came from, '' where nobody knows."""


class Frame:
    """One watch event as bytes (``{"type":...,"object":...}`` + newline), made once.

    ``memo`` lets readers in the same process share one decoded, frozen view per view type; a frame
    read from a socket starts with an empty memo. Key: the view class.
    """

    __slots__ = ("_data", "_memo")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._memo: dict[type, Any] = {}

    @property
    def data(self) -> bytes:
        """The event as bytes."""
        return self._data

    @property
    def memo(self) -> dict[type, Any]:
        """What readers in this process made of it."""
        return self._memo


class Response:
    """An answer: ``body``, or ``stream`` for a watch (frames until it ends).

    ``chunks`` is a body that is made while it is sent, because it may be too large to be held
    whole. Whoever reads ``body`` instead has it joined; each of the two can be read once.

    ``headers`` has one value per name; that of ``set-cookie`` has a line for each cookie.
    """

    __slots__ = ("_body", "chunks", "headers", "status", "stream")

    def __init__(
        self,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        stream: AsyncIterator[Frame] | None = None,
        chunks: Iterator[bytes] | None = None,
    ) -> None:
        self.status = status
        self.headers = {} if headers is None else headers
        self.stream = stream
        self.chunks = chunks
        self._body = body

    @property
    def body(self) -> bytes:
        """The body, whole."""
        if self.chunks is not None:
            self._body, self.chunks = b"".join(self.chunks), None
        return self._body

    @body.setter
    def body(self, body: bytes) -> None:
        """Replace it."""
        self._body, self.chunks = body, None

    @property
    def view(self) -> Any:
        """The one object of the answer as its kind's frozen view, if it is at hand in this process;
        else None.
        """
        return None


class Api(Protocol):
    """Counter 1. Never raises for an API failure: that is a Response with a Status body.

    Raises ConnectionError when the server cannot be reached (partition, shutdown).
    """

    async def send(self, request: Request) -> Response:
        """Perform one request."""

    async def restored(self) -> None:
        """Wait until a server that was lost can be reached again. A binding that cannot know
        waits for ever.
        """


# ---------------------------------------------------------------- 2. the fabric


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a command line tool printed, and its exit code."""

    stdout: str = ""
    stderr: str = ""
    code: int = 0


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """The hardware facts of a node, as its kubelet finds them at boot."""

    name: str
    address: str
    mac: str
    boot_id: str
    machine_id: str
    cpus: int
    memory_bytes: int
    kernel_version: str
    address6: str = ""
    """Its IPv6 address in a dual-stack cluster."""

    @property
    def addresses(self) -> tuple[str, ...]:
        """All its addresses, the primary family's first."""
        return (self.address, self.address6) if self.address6 else (self.address,)


@dataclass(frozen=True, slots=True)
class Publication:
    """A real address that leads to a modelled one.

    ``name`` says what it is: ``dns``, ``nodePort default/frontend``, ``ingress http``. Addresses
    are ``host:port``; ``address`` is "" when it could not be published, and ``message`` says why.
    """

    name: str
    protocol: str
    """tcp or udp."""
    address: str
    modelled: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class CapturedFrame:
    """A frame that passed a device, as bytes (Ethernet). ``direction``: In | Out."""

    device: str
    direction: str
    data: bytes
    time_ns: int
    """Wall time."""


class Fabric(Protocol):
    """Counter 2: the kernels and disks of all nodes."""

    async def node(self, node: str) -> NodeInfo:
        """Facts of a node. Raises LookupError for an unknown one."""

    async def execute(self, node: str, commands: Sequence[Command]) -> None:
        """Run kernel commands in order on one node; stops at the first that fails.

        Raises dataplane.commands.CommandError with the kernel's own message.
        """

    async def tool(self, node: str, netns: str, argv: Sequence[str], stdin: str = "") -> ToolResult:
        """Run a network tool (ip, iptables-save, conntrack, bridge, sysctl, ss ...) in a netns
        of a node ("" is the host's). Unknown tools exit 127.
        """

    def capture(self, node: str, netns: str, device: str) -> AsyncGenerator[CapturedFrame, None]:
        """Frames at a device of a namespace ("any": at all) until the iterator is closed. The first
        item has no data: the capture has begun. Who reads too slowly misses some. Raises
        LookupError when there is no such device.
        """

    async def read_file(self, node: str, path: str) -> bytes:
        """A file of the node's disk. Raises FileNotFoundError."""

    async def write_file(self, node: str, path: str, data: bytes) -> None:
        """Create or replace a file of the node's disk."""

    async def remove_file(self, node: str, path: str) -> None:
        """Remove a file; harmless when absent."""

    async def list_files(self, node: str, prefix: str) -> list[str]:
        """Sorted paths below a prefix."""

    def watch_files(self, node: str, prefix: str) -> AsyncIterator[str]:
        """Paths below a prefix as they change; starts with those that exist."""

    async def walk(self, request: WalkRequest) -> WalkAnswer:
        """Walk a packet on a fork; leaves no counter and no conntrack entry behind."""

    async def ask_datagram(
        self,
        node: str,
        netns: str,
        address: str,
        port: int,
        payload: bytes,
        timeout_s: float,
        draw: float | None = None,
    ) -> tuple[WalkAnswer, bytes | None]:
        """Send one UDP datagram on a fork to whichever program would get it and carry its answer
        back on the same fork: the walk there, and the reply payload (None: none came).
        ``draw`` picks the load-balancing branch, as in WalkRequest.
        """

    async def publications(self) -> list[Publication]:
        """The real addresses that lead into the network, in order of their modelled ones; none in
        virtual time.
        """


# ---------------------------------------------------------------- 3. sockets


class Stream(Protocol):
    """A TCP connection."""

    local: tuple[str, int]
    remote: tuple[str, int]

    async def send(self, data: bytes) -> None:
        """Send bytes. Raises BrokenPipeError, ConnectionResetError."""

    async def recv(self) -> bytes:
        """The next bytes, b"" at end of stream. Raises ConnectionResetError, TimeoutError."""

    async def close(self) -> None:
        """Send FIN after what was sent; returns at once."""

    def abort(self) -> None:
        """Send RST."""


class Listener(Protocol):
    """A listening TCP socket."""

    local: tuple[str, int]

    async def accept(self) -> Stream:
        """The next established connection. Raises OSError after close."""

    def close(self) -> None:
        """Stop listening."""


class Datagrams(Protocol):
    """A UDP socket."""

    local: tuple[str, int]

    async def send_to(self, data: bytes, address: str, port: int) -> None:
        """Send one datagram."""

    async def recv_from(self) -> tuple[bytes, str, int]:
        """The next datagram with its source. Raises ConnectionRefusedError when an ICMP port
        unreachable came back for something this socket sent.
        """

    def close(self) -> None:
        """Release the port."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One packet whose answer tells of the way: what ping, traceroute, tracepath and mtr send.

    ``protocol``: icmp (an echo request) | udp | tcp (a SYN). ``source_port`` 0 picks one;
    ``sequence`` is the echo's. ``size_bytes`` counts the IP header. Without ``dont_fragment`` a
    packet larger than the path's MTU is fragmented on its way.
    """

    address: str
    protocol: str = "icmp"
    port: int = 0
    source_port: int = 0
    sequence: int = 1
    ttl: int = 64
    size_bytes: int = 84
    dont_fragment: bool = True


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """What came back. ``kind``: echo | time-exceeded | unreachable (``code`` is ICMP's) | too-big |
    open (a SYN-ACK or a datagram) | closed (a RST).

    ``address`` and ``ttl`` are those of the answer; "" when the own kernel refused a packet that
    is larger than ``mtu_bytes`` before it left.
    """

    kind: str
    address: str
    seconds: float
    ttl: int = 64
    code: int = 0
    mtu_bytes: int = 0


class Sockets(Protocol):
    """Counter 3: sockets of one network namespace (``netns`` "" is the node's own)."""

    async def listen(self, node: str, netns: str, address: str, port: int) -> Listener:
        """Listen on TCP. ``address`` "" is any. Raises OSError (EADDRINUSE)."""

    async def connect(
        self, node: str, netns: str, address: str, port: int, timeout_s: float, source_port: int = 0
    ) -> Stream:
        """Connect by TCP. Raises ConnectionRefusedError, TimeoutError,
        OSError(ENETUNREACH | EHOSTUNREACH).
        """

    async def bind_udp(self, node: str, netns: str, address: str = "", port: int = 0) -> Datagrams:
        """Bind UDP; port 0 picks an ephemeral one. Raises OSError (EADDRINUSE)."""

    async def probe(self, node: str, netns: str, probe: Probe, timeout_s: float) -> ProbeAnswer:
        """Send one packet and wait for what it causes. Raises TimeoutError when nothing comes
        back, OSError (ENETUNREACH ...) when the packet cannot be sent.
        """

    def owned_by(self, owner: str) -> Sockets:
        """The same counter for one process: sockets opened there belong to ``owner`` (a
        container's id, say) and close together when it exits.
        """

    def release(self, owner: str) -> None:
        """``owner`` exited: its sockets close as a kernel closes them (listeners vanish,
        connections send FIN, or RST when data lies unread).
        """


# ---------------------------------------------------------------- 4. CNI


@dataclass(frozen=True, slots=True)
class CniOutput:
    """What a plugin process left: stdout (JSON) and exit code."""

    stdout: bytes
    code: int


class Cni(Protocol):
    """Counter 4: executes a plugin binary on a node (CNI spec 1.1)."""

    async def execute(
        self, node: str, plugin: str, env: Mapping[str, str], stdin: bytes
    ) -> CniOutput:
        """Run ``plugin`` with CNI_* in ``env`` and the configuration on stdin."""

    async def available(self) -> None:
        """Wait until plugins can be executed: at once where they are in the same process.

        For callers who must be free to give up before they begin what is not to be interrupted.
        """


# ---------------------------------------------------------------- 5. container host


@dataclass(frozen=True, slots=True)
class ContainerUser:
    """Whose processes a container's are. Files belong to root in the model, whoever made them."""

    uid: int = 0
    gid: int = 0
    groups: tuple[int, ...] = ()
    """Supplementary groups."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What a runtime hands to a container: already resolved by kubelet."""

    id: str
    node: str
    netns: str
    namespace: str
    pod: str
    pod_uid: str
    pod_ip: str
    name: str
    image: str
    argv: tuple[str, ...]
    """command + args after $(VAR) expansion; empty: the image's own entrypoint."""
    has_command: bool = False
    """Whether the pod gives a ``command``; without one, argv are the entrypoint's arguments."""
    env: Mapping[str, str] = field(default_factory=dict)
    ports: tuple[tuple[int, str], ...] = ()
    """(containerPort, protocol) in order."""
    hostname: str = ""
    working_dir: str = "/"
    user: ContainerUser = ContainerUser()


class Process(Protocol):
    """What a modelled program sees of the world. One per running container (or exec)."""

    spec: ContainerSpec
    sockets: Sockets

    def out(self, line: str) -> None:
        """Write one line to stdout (the container's log)."""

    def err(self, line: str) -> None:
        """Write one line to stderr (the container's log)."""

    async def read_file(self, path: str) -> bytes:
        """A file of the container (volumes, /etc/resolv.conf, /etc/hosts). FileNotFoundError."""

    async def list_files(self, prefix: str) -> list[str]:
        """Sorted absolute paths of the container's files below a path (what ``ls`` can know)."""

    async def write_file(self, path: str, data: bytes) -> None:
        """Write a file; below a hostPath mount it lands on the node's disk."""

    async def remove_file(self, path: str) -> None:
        """Remove a file. Raises FileNotFoundError, OSError on a read-only mount."""

    async def terminated(self) -> str:
        """Wait for a signal ("TERM", "HUP" ...); KILL cancels the program instead.

        A program that never waits here ignores TERM, as process 1 of a container does.
        """

    def deliver(self, signal: str) -> None:
        """For the container host: a signal arrived."""


class Container(Protocol):
    """A started container, seen by kubelet."""

    async def wait(self) -> int:
        """The exit code, once it exited (137 after KILL, 143 after an unhandled TERM).

        Raises ConnectionError when the room that ran it is gone: the container is lost.
        """

    def signal(self, name: str) -> None:
        """Deliver "TERM", "HUP" or "KILL"."""


class ContainerHost(Protocol):
    """Counter 5: a room that implements images."""

    def implements(self, image: str) -> bool:
        """Whether this room is the implementation of an image reference."""

    async def available(self) -> None:
        """Wait until the room can start containers: at once where it is in the same process."""

    async def start(self, process: Process) -> Container:
        """Start the program. Raises OSError when the command does not exist, ConnectionError when
        the room is gone: the container is lost.
        """


# ---------------------------------------------------------------- 6. kubelet streams

KUBELET_ENDPOINT = "podwire.dev/kubelet-endpoint"
"""Annotation of a Node: where its kubelet serves counter 6 (``host:port``) when it is a process of
its own.
"""


class ExecSession(Protocol):
    """A running command in a container."""

    async def send_stdin(self, data: bytes) -> None:
        """Bytes for stdin; b"" closes it. Waits while the command has enough to read."""

    def resize(self, columns: int, rows: int) -> None:
        """The client's terminal has another size."""

    def output(self) -> AsyncIterator[tuple[int, bytes]]:
        """(1, stdout bytes) and (2, stderr bytes) until both end."""

    async def wait(self) -> int:
        """The exit code. Raises ApiError when the command could not be started."""

    def cancel(self) -> None:
        """The client went away: kill the command (but not the program it is attached to)."""


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Query of the log subresource."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    since_seconds: int | None = None
    since_time: str = ""
    limit_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Resolver:
    """How a pod (or node) resolves names, and from where."""

    node: str
    netns: str
    address: str
    resolv_conf: str
    hosts: str


class KubeletStreams(Protocol):
    """Counter 6: what the API server asks of the kubelet of a node.

    Raises ApiError for what the caller did wrong, ConnectionError when the kubelet is gone.
    """

    async def exec(
        self, node: str, namespace: str, pod: str, container: str, argv: Sequence[str], tty: bool
    ) -> ExecSession:
        """Start a command in a running container."""

    async def attach(
        self, node: str, namespace: str, pod: str, container: str, *, stdin: bool
    ) -> ExecSession:
        """Attach to a container's main program: what it prints from now on, and with ``stdin`` what
        it reads. The exit code is 0 once the client is let go.
        """

    async def port_forward(self, node: str, namespace: str, pod: str, port: int) -> Stream:
        """Connect to ``localhost:port`` in the pod's network namespace. An ApiError has the text
        of the error stream.
        """

    async def dial(self, node: str, address: str, port: int, timeout_s: float) -> Stream:
        """Connect from the node's own namespace, as a konnectivity agent there does for an API
        server that has no route to pods. ConnectionError has Go's words.
        """

    async def http(self, node: str, request: Request) -> Response:
        """A request to the kubelet's own port (10250)."""

    async def logs(
        self, node: str, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[bytes]:
        """The container's log."""

    async def resolver(self, node: str, namespace: str, pod: str) -> Resolver:
        """The pod's resolver set-up (pod "" is the node itself)."""

    async def run(self, node: str, argv: Sequence[str], stdin: bytes = b"") -> ToolResult:
        """Run a command on the node itself, to its end."""
