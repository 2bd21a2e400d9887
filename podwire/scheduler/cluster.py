"""All nodes with their pods, and the indexes over them: what one decision looks at (pure).

Nodes stand in slots; their order is upstream's (``nodeTree``: one of each zone in turn), renewed
when a quarter of them is new. What the indexes hold is brought up to date by every change, so that
the cost of a decision does not grow with the pods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from podwire.api.views import Node, Pod
from podwire.scheduler.counting import PodCounts, TermCounts, liked_by
from podwire.scheduler.domains import ITSELF
from podwire.scheduler.resources import NodeState
from podwire.scheduler.terms import ZONE, Namespaces, PodInfo, info, same_demands

_REGION = "topology.kubernetes.io/region"
_LOG_SLACK = 1024


class Cluster:
    """The nodes, the pods on them, and who is nominated where."""

    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self.slots: list[NodeState | None] = []
        self.everywhere = 0
        """The slots in use."""
        self.layout = 0
        """Counts reorderings: what was remembered by slot is void."""
        self.topology = 0
        """Counts changes of nodes' labels, and of which nodes there are."""
        self.facts = 0
        """Counts changes of nodes that were there already."""
        self.namespaces: Namespaces = {}
        self.counts = PodCounts(self, self.namespaces)
        self.repelling = TermCounts(self, self.namespaces)
        """Required anti-affinity of the pods that are there."""
        self.liking = TermCounts(self, self.namespaces)
        """Their preferences and required affinity, for scores."""
        self.log: list[int] = []
        """Slots whose state changed, in order."""
        self.logged = 0
        """How many entries were dropped from the front of ``log``."""
        self.nominated: dict[str, dict[str, PodInfo]] = {}
        """Pods, by uid, that wait for a node's pods to end, by node."""
        self.images: dict[str, int] = {}
        """How many nodes have an image, by name."""
        self.pictures = 0
        """Counts changes of what scores by images read."""
        self._where: dict[str, tuple[str, PodInfo]] = {}
        self._homeless: dict[str, dict[str, PodInfo]] = {}
        """Pods bound to nodes that are not (or no longer) known."""
        self._fresh = 0
        """Nodes that came since the last ordering."""
        self._domains: dict[str, dict[str, int]] = {}
        self._domains_of = -1

    # ------------------------------------------------------------ nodes

    def set_node(self, node: Node) -> None:
        """A node appeared or changed."""
        name = node.metadata.name
        state = self.nodes.get(name)
        if state is not None:
            moved = state.node.metadata.labels != node.metadata.labels
            self._count_images(state, -1)
            state.set_node(node)
            self._count_images(state, 1)
            self.topology += moved
            self.facts += 1
            self.log.append(state.slot)
            return
        state = NodeState(node, len(self.slots))
        state.set_node(node)
        self._count_images(state, 1)
        self.nodes[name] = state
        self.slots.append(state)
        self.everywhere |= 1 << state.slot
        self.topology += 1
        self._fresh += 1
        for pod in self._homeless.pop(name, {}).values():
            self._place(pod, state)

    def remove_node(self, name: str) -> None:
        """A node is gone; its pods may still be deleted one by one."""
        state = self.nodes.get(name)
        if state is None:
            return
        stranded = {uid: self._where[uid][1] for uid in state.pods}
        for pod in stranded.values():
            self._displace(pod, state)
        if stranded:
            self._homeless[name] = stranded
        self._count_images(state, -1)
        del self.nodes[name]
        self.slots[state.slot] = None
        self.everywhere ^= 1 << state.slot
        self.topology += 1
        self.log.append(state.slot)

    def _count_images(self, state: NodeState, by: int) -> None:
        self.pictures += bool(self.images or state.images)
        for image in state.images:
            count = self.images.get(image, 0) + by
            if count:
                self.images[image] = count
            else:
                del self.images[image]

    def settle(self) -> None:
        """Before a decision: put nodes in order, keep the log short."""
        holes = len(self.slots) - len(self.nodes)
        if (self._fresh + holes) * 4 > len(self.nodes):
            self._reorder()
        if len(self.log) > 4 * len(self.slots) + _LOG_SLACK:
            dropped = len(self.log) - len(self.slots)
            del self.log[:dropped]
            self.logged += dropped

    def _reorder(self) -> None:
        zones: dict[tuple[str, str], list[NodeState]] = {}
        for state in self.nodes.values():
            labels = state.node.metadata.labels
            zones.setdefault((labels.get(_REGION, ""), labels.get(ZONE, "")), []).append(state)
        rows = max((len(zone) for zone in zones.values()), default=0)
        ordered = [zone[n] for n in range(rows) for zone in zones.values() if n < len(zone)]
        pods = [(self._where[uid][1], state) for state in ordered for uid in state.pods]
        for pod, state in pods:
            self._count(pod, state, -1)
        self.slots = list(ordered)
        for slot, state in enumerate(ordered):
            state.slot = slot
        self.everywhere = (1 << len(ordered)) - 1
        self.layout += 1
        self.topology += 1
        for pod, state in pods:
            self._count(pod, state, 1)
        self.log.clear()
        self._fresh = 0

    # ------------------------------------------------------------ topology

    def domain(self, key: str, slot: int) -> str | None:
        """The value of a topology key on the node in a slot; None without the label."""
        if key == ITSELF:
            return str(slot)
        state = self.slots[slot]
        assert state is not None, "pods are counted on nodes that are there"
        return state.node.metadata.labels.get(key)

    def domains(self, key: str) -> Mapping[str, int]:
        """Every value of a topology key with the nodes that have it."""
        if self._domains_of != self.topology:
            self._domains.clear()
            self._domains_of = self.topology
        found = self._domains.get(key)
        if found is None:
            lists: dict[str, list[int]] = {}
            for state in self.nodes.values():
                value = self.domain(key, state.slot)
                if value is not None:
                    lists.setdefault(value, []).append(state.slot)
            found = {value: mask_of(slots, len(self.slots)) for value, slots in lists.items()}
            self._domains[key] = found
        return found

    def labelled(self, key: str) -> int:
        """The nodes that have a topology key."""
        found = self._domains.get(f"{key}\0any") if self._domains_of == self.topology else None
        if found is None:
            mask = 0
            for nodes in self.domains(key).values():
                mask |= nodes
            found = self._domains[f"{key}\0any"] = {"": mask}
        return found[""]

    def set_namespace(self, name: str, labels: dict[str, str] | None) -> None:
        """A namespace appeared, changed its labels, or is gone (None)."""
        if self.namespaces.get(name) == labels:
            return
        if labels is None:
            del self.namespaces[name]
        else:
            self.namespaces[name] = labels
        self.counts.forget()
        self.repelling.forget()
        self.liking.forget()

    # ------------------------------------------------------------ pods

    def set_pod(self, pod: Pod | PodInfo, node: str) -> PodInfo:
        """A pod stands on (or is assumed to be on) a node."""
        given = pod if isinstance(pod, PodInfo) else None
        plain = pod.pod if isinstance(pod, PodInfo) else pod
        uid = plain.metadata.uid
        known = self._where.get(uid)
        if known is not None and known[0] == node and same_demands(known[1].pod, plain):
            known[1].pod = plain
            return known[1]
        if known is not None:
            self.remove_pod(uid)
        made = given or info(plain)
        self._where[uid] = (node, made)
        state = self.nodes.get(node)
        if state is not None:
            self._place(made, state)
        else:
            self._homeless.setdefault(node, {})[uid] = made
        return made

    def remove_pod(self, uid: str) -> PodInfo | None:
        """A pod is gone, finished, or was not bound after all."""
        name, pod = self._where.pop(uid, ("", None))
        if pod is None:
            return None
        state = self.nodes.get(name)
        if state is not None:
            self._displace(pod, state)
        else:
            self._homeless[name].pop(uid, None)
            if not self._homeless[name]:
                del self._homeless[name]
        return pod

    def pods_on(self, state: NodeState) -> list[PodInfo]:
        """The pods of a node, in the order in which they came."""
        return [self._where[uid][1] for uid in state.pods]

    def node_of(self, uid: str) -> str:
        """The node a pod stands on; "" if it is not known to stand anywhere."""
        return self._where[uid][0] if uid in self._where else ""

    def _place(self, pod: PodInfo, state: NodeState) -> None:
        state.add(pod.uid, pod.demand)
        self._count(pod, state, 1)
        self.log.append(state.slot)

    def _displace(self, pod: PodInfo, state: NodeState) -> None:
        state.remove(pod.uid)
        self._count(pod, state, -1)
        self.log.append(state.slot)

    def _count(self, pod: PodInfo, state: NodeState, by: int) -> None:
        self.counts.change(pod, state.slot, by)
        if pod.terms.anti:
            self.repelling.change(pod.terms.anti, state.slot, by)
        liked = liked_by(pod)
        if liked:
            self.liking.change(liked, state.slot, by)

    # ------------------------------------------------------------ what if

    @contextmanager
    def supposing(self) -> Iterator[Supposition]:
        """Take pods away and put pods on nodes for a while; afterwards all is as it was."""
        trial = Supposition(self)
        try:
            yield trial
        finally:
            trial.undo()

    def nominate(self, pod: PodInfo, node: str) -> None:
        """The pod waits for that node ("" for none any more)."""
        self.forget_nomination(pod.uid)
        if node:
            self.nominated.setdefault(node, {})[pod.uid] = pod

    def forget_nomination(self, uid: str) -> None:
        """The pod waits for no node."""
        for name, pods in tuple(self.nominated.items()):
            if pods.pop(uid, None) is not None and not pods:
                del self.nominated[name]


class Supposition:
    """Changes to the pods of one node that will be undone."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._undo: list[tuple[PodInfo, NodeState, bool]] = []
        self._order: dict[str, tuple[str, ...]] = {}

    def without(self, pod: PodInfo, state: NodeState) -> None:
        """The pod were not on the node."""
        self._remember(state)
        self._cluster._displace(pod, state)  # noqa: SLF001  one mechanism in two classes
        self._undo.append((pod, state, True))

    def with_(self, pod: PodInfo, state: NodeState) -> None:
        """The pod were on the node."""
        self._remember(state)
        self._cluster._place(pod, state)  # noqa: SLF001  one mechanism in two classes
        self._undo.append((pod, state, False))

    def _remember(self, state: NodeState) -> None:
        self._order.setdefault(state.node.metadata.name, tuple(state.pods))

    def undo(self) -> None:
        """Take everything back, the order of a node's pods too."""
        for pod, state, was_there in reversed(self._undo):
            if was_there:
                self._cluster._place(pod, state)  # noqa: SLF001  as above
            else:
                self._cluster._displace(pod, state)  # noqa: SLF001  as above
        for name, order in self._order.items():
            state = self._cluster.nodes[name]
            state.pods = {uid: state.pods[uid] for uid in order}
        self._undo.clear()
        self._order.clear()


def mask_of(slots: Sequence[int], width: int) -> int:
    """The set of these slots."""
    if len(slots) < _FEW:
        mask = 0
        for slot in slots:
            mask |= 1 << slot
        return mask
    data = bytearray(width // 8 + 1)
    for slot in slots:
        data[slot >> 3] |= 1 << (slot & 7)
    return int.from_bytes(data, "little")


_FEW = 16
