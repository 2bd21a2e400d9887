"""How much an expression may cost at most, before it ever runs.

Source: cel-go checker/cost.go, ext/lists.go, ext/sets.go; Kubernetes' apiserver
pkg/cel/library/cost.go. Sizes of data come from the limits of its schema.
"""

from __future__ import annotations

from typing import NamedTuple

from podwire.api.cel import sizing
from podwire.api.cel.functions.costs import LIST_COST, MAP_COST, QUARTER, STRUCT_COST, TENTH
from podwire.api.cel.macros import ACCU
from podwire.api.cel.sizing import UNKNOWN, Range, capped, fixed
from podwire.api.cel.syntax import (
    Call,
    Fold,
    Ident,
    ListOf,
    Literal,
    MapOf,
    Node,
    Select,
    Struct,
    room,
)
from podwire.api.cel.types import UNBOUNDED, Type

Path = tuple[str, ...]


class _Entries(NamedTuple):
    """The sizes of what a list or map holds."""

    kind: str
    key: Range
    value: Range

    def union(self, other: _Entries | None) -> _Entries | None:
        """What holds either."""
        if other is None:
            return None
        return _Entries(self.kind, self.key.union(other.key), self.value.union(other.value))


class _Local(NamedTuple):
    """A variable of a macro."""

    path: Path
    size: Range | None
    entries: _Entries | None


class Estimate(NamedTuple):
    """The cost of a call, and the size of its result where that is known."""

    cost: Range
    size: Range | None = None


def estimate(tree: Node, root: Type) -> Range:
    """The least and the most that a checked tree costs; ``root`` is the type of ``self``."""
    with room():
        return _Coster(root).cost(tree)


class _Coster:
    def __init__(self, root: Type) -> None:
        self._root = root
        self._paths: dict[int, Path] = {}
        self._sizes: dict[int, Range] = {}
        self._entries: dict[int, _Entries] = {}
        self._locals: dict[str, list[_Local]] = {}
        self._done: dict[int, Range] = {}

    def cost(self, node: Node) -> Range:
        """The cost of a node with all below it."""
        shared = self._done.get(id(node))
        if shared is not None and isinstance(node, Call):
            return shared
        made = self._cost(node)
        self._done[id(node)] = made
        return made

    def _cost(self, node: Node) -> Range:
        match node:
            case Literal():
                return fixed(0)
            case Ident():
                local = self._local(node.name)
                self._paths[id(node)] = (node.name,) if local is None else local.path
                return fixed(1)
            case Select() if node.constant is not None:
                self._paths[id(node)] = (node.field,)
                return fixed(1)
            case Select():
                return self._select(node)
            case Call():
                return self._call(node)
            case ListOf():
                return self._list(node)
            case MapOf():
                return self._map(node)
            case Struct():
                total = fixed(STRUCT_COST)
                for _, _, value in node.entries:
                    total += self.cost(value)
                return total
        assert isinstance(node, Fold)
        return self._bind(node) if node.shape == "bind" else self._fold(node)

    def _local(self, name: str) -> _Local | None:
        stack = self._locals.get(name)
        return stack[-1] if stack else None

    def _push(self, name: str, local: _Local) -> None:
        self._locals.setdefault(name, []).append(local)

    def path(self, node: Node) -> Path:
        """Where a node is in the data: variable, fields, ``@items``, ``@keys``, ``@values``."""
        if isinstance(node, Ident) and (local := self._local(node.name)) is not None:
            return local.path
        return self._paths.get(id(node), ())

    def declared(self, path: Path) -> Range | None:
        """The size that the schema gives what is at a path."""
        if not path:
            return None
        here = self._root
        for name in path[1:]:
            if name in {"@items", "@values"}:
                if here.kind not in {"list", "map"}:
                    return None
                here = here.params[-1]
            elif name == "@keys":
                if here.kind != "map":
                    return None
                here = here.params[0]
            else:
                field = (here.fields or {}).get(name)
                if field is None:
                    return None
                here = field.type
        return Range(0, here.max_elements)

    def size(self, node: Node) -> Range | None:
        """The size of a node's value, if something tells it."""
        known = self._sizes.get(id(node))
        if known is not None:
            return known
        if isinstance(node, Literal):
            value = node.value
            return fixed(len(value) if isinstance(value, str | bytes) else 1)
        if isinstance(node, ListOf):
            return fixed(len(node.items))
        if isinstance(node, MapOf):
            return fixed(len(node.entries))
        found = self.declared(self.path(node))
        if found is not None:
            self._sizes[id(node)] = found
            return found
        if sizing.is_scalar(node.type):
            return fixed(1)
        if isinstance(node, Ident) and (local := self._local(node.name)) is not None:
            return local.size
        return None

    def size_or_unknown(self, node: Node) -> Range:
        """``size``, or anything."""
        return self.size(node) or UNKNOWN

    def argument(self, node: Node) -> Range:
        """The size of an argument as Kubernetes' own estimates see it."""
        path = self.path(node)
        computed = self.size(node)
        if computed is None and path and not path[0].startswith("@"):
            computed = self.declared(path)
        return computed or UNKNOWN

    def element(self, node: Node) -> tuple[Type, Range] | None:
        """Type and size of a list's elements, or None when the type tells of none."""
        params = node.type.params
        if not params:
            return None
        path = self.path(node)
        if path and path[0] == ACCU:
            path = ()
        found = self.declared((*path, "@items")) if path else None
        return params[0], found or UNKNOWN

    def entries(self, node: Node) -> _Entries | None:
        """The sizes of what a node's value holds, if something tells them."""
        known = self._entries.get(id(node))
        if known is None and isinstance(node, Ident):
            local = self._local(node.name)
            known = None if local is None else local.entries
        return known

    def _select(self, node: Select) -> Range:
        total = self.cost(node.operand)
        if node.test:
            return total
        if node.operand.type.kind in {"map", "struct", "param"}:
            total += fixed(1)
        self._paths[id(node)] = (*self.path(node.operand), node.field)
        return total

    def _list(self, node: ListOf) -> Range:
        total = fixed(LIST_COST)
        size = Range(0 if not node.items else UNBOUNDED, 0)
        for item in node.items:
            total += self.cost(item)
            size = size.union(self.size_or_unknown(item))
        self._entries[id(node)] = _Entries("list", fixed(1), size)
        return total

    def _map(self, node: MapOf) -> Range:
        total = fixed(MAP_COST)
        keys = values = Range(0 if not node.entries else UNBOUNDED, 0)
        for key, value in node.entries:
            total += self.cost(key)
            total += self.cost(value)
            keys = keys.union(self.size_or_unknown(key))
            values = values.union(self.size_or_unknown(value))
        self._entries[id(node)] = _Entries("map", keys, values)
        return total

    def _iteration(self, name: str, node: Fold, part: str) -> None:
        held = self.entries(node.range)
        kind = held.kind if held else node.range.type.kind
        if part == "single":
            part = "value" if kind == "list" else "key"
        names = {"key": ("@indices", "@keys"), "value": ("@items", "@values")}[part]
        size = None if held is None else (held.key if part == "key" else held.value)
        step = names[0] if kind == "list" else names[1]
        self._push(name, _Local((*self.path(node.range), step), size, None))

    def _fold(self, node: Fold) -> Range:
        total = self.cost(node.range)
        total += self.cost(node.init)
        accu = _Local(self.path(node.init), self.size(node.init), self.entries(node.init))
        self._push(node.accu, accu)
        if node.var2:
            self._iteration(node.var, node, "key")
            self._iteration(node.var2, node, "value")
        else:
            self._iteration(node.var, node, "single")
        condition = self.cost(node.condition)
        step = self.cost(node.step)
        self._locals[node.var].pop()
        if node.var2:
            self._locals[node.var2].pop()
        total += self.cost(node.result)
        self._locals[node.accu].pop()
        count = self.size_or_unknown(node.range)
        total += count.by(step + condition)
        if isinstance(node.init, Literal):
            self._sizes[id(node)] = self.size_or_unknown(node.init)
        else:
            self._sizes[id(node)] = count
            held = self.entries(node.step)
            if held is not None:
                self._entries[id(node)] = held
        return total

    def _bind(self, node: Fold) -> Range:
        total = self.cost(node.range)
        total += self.cost(node.init)
        local = _Local(self.path(node.init), self.size(node.init), self.entries(node.init))
        self._push(node.accu, local)
        total += self.cost(node.result)
        self._copy(node, node.result)
        self._locals[node.accu].pop()
        return total

    def _copy(self, node: Node, source: Node) -> None:
        if (size := self.size(source)) is not None:
            self._sizes[id(node)] = size
        if (held := self.entries(source)) is not None:
            self._entries[id(node)] = held

    def _call(self, node: Call) -> Range:
        if node.function == "dyn":
            total = fixed(1) + self.cost(node.args[0])
            self._copy(node, node.args[0])
            return total
        costs = [self.cost(arg) for arg in node.args]
        if node.function == "_?._":
            return self._optional_select(node, costs)
        total = fixed(0) if node.target is None else self.cost(node.target)
        whole = Range(UNBOUNDED, 0)
        size: Range | None = None
        for overload in node.overloads:
            one = self._overload(node, overload.id, costs)
            whole = whole.union(one.cost)
            if one.size is not None:
                size = one.size if size is None else size.union(one.size)
            if overload.id in {"index_list", "index_map"}:
                held = self.entries(node.args[0])
                size = None if held is None else held.value
                step = "@items" if overload.id == "index_list" else "@values"
                self._paths[id(node)] = (*self.path(node.args[0]), step)
            if size is None:
                size = self.size(node)
        if size is not None:
            self._sizes[id(node)] = size
        return total + whole

    def _optional_select(self, node: Call, costs: list[Range]) -> Range:
        """``a.?b``: one, as any call of which nothing else is known."""
        size = self.size(node)
        if size is not None:
            self._sizes[id(node)] = size
        return costs[0] + costs[1] + fixed(1)

    def _overload(self, node: Call, overload: str, costs: list[Range]) -> Estimate:
        total = fixed(0)
        for cost in costs:
            total += cost
        own = sizing.FUNCTIONS.get(node.function)
        found: sizing.Found | None = None if own is None else own(self, node, overload)
        if found is not None:
            return Estimate(found[0] + total, found[1])
        return self._standard(node, overload, costs, total)

    def _standard(self, node: Call, overload: str, costs: list[Range], total: Range) -> Estimate:
        args = node.args
        match overload:
            case "string_format":
                assert node.target is not None
                return Estimate(self.size_or_unknown(node.target).cost(TENTH) + total)
            case "string_to_bytes":
                size = self.size_or_unknown(args[0])
                return Estimate(size.cost(TENTH) + total, Range(size.low, capped(size.high * 4)))
            case "bytes_to_string":
                size = self.size_or_unknown(args[0])
                return Estimate(size.cost(TENTH) + total, Range(size.low // 4, size.high))
            case "strings_quote":
                size = self.size_or_unknown(args[0])
                quoted = Range(size.low + 2, capped(size.high * 2 + 2))
                return Estimate(size.cost(TENTH) + total, quoted)
            case "starts_with_string" | "ends_with_string":
                return Estimate(self.size_or_unknown(args[0]).cost(TENTH) + total)
            case "in_list":
                return Estimate(self.size_or_unknown(args[1]) + total)
            case "matches_string":
                assert node.target is not None
                text = (self.size_or_unknown(node.target) + fixed(1)).cost(TENTH)
                return Estimate(text.by(self.size_or_unknown(args[0]).cost(QUARTER)) + total)
            case "contains_string":
                assert node.target is not None
                text = self.size_or_unknown(node.target).cost(TENTH)
                return Estimate(text.by(self.size_or_unknown(args[0]).cost(TENTH)) + total)
            case "logical_or" | "logical_and":
                return Estimate(Range(costs[0].low, (costs[0] + costs[1]).high))
            case "conditional":
                return self._conditional(node, costs)
            case "add_string" | "add_bytes" | "add_list":
                return self._sum(node, overload, total)
        if overload in sizing.COMPARED:
            high = min(self.size_or_unknown(args[0]).high, self.size_or_unknown(args[1]).high)
            return Estimate(Range(1 if high else 0, high).cost(TENTH) + total)
        return Estimate(total + fixed(1))

    def _conditional(self, node: Call, costs: list[Range]) -> Estimate:
        _, yes, no = node.args
        size = self.size_or_unknown(yes).union(self.size_or_unknown(no))
        held = self.entries(yes)
        if held is not None and (both := held.union(self.entries(no))) is not None:
            self._entries[id(node)] = both
        return Estimate(costs[0] + costs[1].union(costs[2]), size)

    def _sum(self, node: Call, overload: str, total: Range) -> Estimate:
        one, other = node.args
        size = self.size_or_unknown(one) + self.size_or_unknown(other)
        held = self.entries(one)
        if held is not None and (both := held.union(self.entries(other))) is not None:
            self._entries[id(node)] = both
        if overload == "add_list":
            return Estimate(total + fixed(1), size)
        return Estimate(size.cost(TENTH) + total, size)
