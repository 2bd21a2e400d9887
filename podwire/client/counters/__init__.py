"""The six counters at which rooms meet, as Protocols.

1. ``Api``            any room  -> apiserver   (HTTP-shaped requests and answers)
2. ``Fabric``         node agents -> fabric    (kernel commands, queries, node disk, walks)
3. ``Sockets``        programs  -> fabric      (TCP, UDP and SCTP of a network namespace)
4. ``Cni``            kubelet   -> cni         (environment and stdin in, stdout and code out)
5. ``ContainerHost``  kubelet   -> any room that implements an image
6. ``KubeletStreams`` apiserver -> kubelet     (exec, attach, logs, ports, name lookup)
"""

from podwire.client.counters.api import ANONYMOUS, Api, Frame, Request, Response, User
from podwire.client.counters.cni import Cni, CniOutput
from podwire.client.counters.containers import (
    Container,
    ContainerHost,
    ContainerSpec,
    ContainerUser,
    Process,
)
from podwire.client.counters.fabric import CapturedFrame, Fabric, NodeInfo, Publication, ToolResult
from podwire.client.counters.kubelets import (
    KUBELET_ENDPOINT,
    ExecSession,
    KubeletStreams,
    LogOptions,
    Resolver,
)
from podwire.client.counters.sockets import Datagrams, Listener, Probe, ProbeAnswer, Sockets, Stream

__all__ = [
    "ANONYMOUS",
    "KUBELET_ENDPOINT",
    "Api",
    "CapturedFrame",
    "Cni",
    "CniOutput",
    "Container",
    "ContainerHost",
    "ContainerSpec",
    "ContainerUser",
    "Datagrams",
    "ExecSession",
    "Fabric",
    "Frame",
    "KubeletStreams",
    "Listener",
    "LogOptions",
    "NodeInfo",
    "Probe",
    "ProbeAnswer",
    "Process",
    "Publication",
    "Request",
    "Resolver",
    "Response",
    "Sockets",
    "Stream",
    "ToolResult",
    "User",
]
