"""Changing sets: the commands of ipset, one by one or as the text of ``ipset restore``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from podwire.dataplane.ipset import element, types
from podwire.dataplane.ipset.address import BITS
from podwire.dataplane.ipset.element import Element, Key
from podwire.dataplane.ipset.sets import SECOND_NS, IpSet, IpSets, Options
from podwire.dataplane.ipset.types import IpsetError
from podwire.dataplane.netfilter.text import split
from podwire.runtime.ports import Rng

VERSION = "ipset v7.17"
HELP = "Try `ipset help' for more information."

VERBS = {
    "create": "create",
    "-N": "create",
    "n": "create",
    "--create": "create",
    "add": "add",
    "-A": "add",
    "--add": "add",
    "del": "del",
    "-D": "del",
    "--del": "del",
    "test": "test",
    "-T": "test",
    "--test": "test",
    "destroy": "destroy",
    "-X": "destroy",
    "x": "destroy",
    "--destroy": "destroy",
    "list": "list",
    "-L": "list",
    "--list": "list",
    "save": "save",
    "-S": "save",
    "--save": "save",
    "restore": "restore",
    "-R": "restore",
    "--restore": "restore",
    "flush": "flush",
    "-F": "flush",
    "--flush": "flush",
    "rename": "rename",
    "-E": "rename",
    "e": "rename",
    "--rename": "rename",
    "swap": "swap",
    "-W": "swap",
    "w": "swap",
    "--swap": "swap",
    "help": "help",
    "-H": "help",
    "version": "version",
    "-V": "version",
    "-v": "version",
    "--version": "version",
}
EXIST = ("-exist", "-!", "--exist")
"""The option by which what is there already (or not there any more) is no error."""
USED = Callable[[], Mapping[str, int]]
"""How many rules refer to each set; asked only when it matters."""
Initval = Callable[[str], int]
"""The seed of a new set's hash, by its name."""


def seeds(rng: Rng, netns: str) -> Initval:
    """Seeds from a kernel's chance, independent of the order in which sets are made."""
    return lambda name: rng.child(f"ipset/{netns}/{name}").below(1 << 32)


def usage(text: str) -> IpsetError:
    """A mistake in a command's words."""
    return IpsetError(f"{text}\n{HELP}", 2)


def restore(
    sets: IpSets, text: str, *, exist: bool, used: USED, initval: Initval, now_ns: int
) -> None:
    """Carry out the text of ``ipset restore``: all of its lines or none.

    Raises IpsetError ("Error in line N: ...").
    """
    draft = sets.clone()
    line = 0
    try:
        for number, words in lines(text):
            line = number
            run(draft, words, exist=exist, used=used, initval=initval, now_ns=now_ns)
    except IpsetError as error:
        if error.code != 1:
            raise  # a mistake in the words: the tool does not say where
        raise IpsetError(f"Error in line {line}: {error}") from None
    sets.take(draft)


def lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """The commands of a restore text with their line numbers."""
    for number, raw in enumerate(text.splitlines(), start=1):
        stripped = raw.strip()
        if stripped and stripped[0] != "#" and stripped != "COMMIT":
            yield number, split(stripped)


def run(
    sets: IpSets,
    words: list[str],
    *,
    exist: bool,
    used: USED,
    initval: Initval,
    now_ns: int,
) -> None:
    """One command that changes sets. Raises IpsetError in the tool's words."""
    exist = exist or any(word in EXIST for word in words)
    words = [word for word in words if word not in {*EXIST, "-q", "-quiet"}]
    verb = VERBS.get(words[0], "") if words else ""
    if not verb:
        unknown = f": unknown argument {words[0]}" if words else "."
        raise usage(f"No command specified{unknown}")
    rest = words[1:]
    if verb == "create":
        create(sets, rest, exist=exist, initval=initval)
    elif verb in {"add", "del"}:
        change = add if verb == "add" else delete
        change(sets, rest, exist=exist, now_ns=now_ns)
    elif verb in {"flush", "destroy"}:
        several(sets, verb, rest, used)
    elif verb in {"swap", "rename"}:
        exchange(sets, verb, rest, used)
    else:
        raise usage(f"Command {verb} is invalid in restore mode.")


# ---------------------------------------------------------------- create


_FLAGS = ("counters", "comment", "forceadd")


def create(sets: IpSets, words: list[str], *, exist: bool, initval: Initval) -> None:
    """``create NAME TYPE [options]``."""
    if not words:
        raise usage("Missing mandatory argument to command create")
    name = words[0]
    _check_name(name)
    if len(words) < 2:
        raise usage("Missing second mandatory argument to command create")
    kind = types.find(words[1])
    found = _options(kind, words[2:])
    if name in sets:
        old = sets.get(name)
        wanted = Options(**{**found, "initval": old.options.initval})
        if exist and old.kind is kind and _alike(old.options, wanted):
            return
        raise IpsetError("Set cannot be created: set with the same name already exists")
    found.setdefault("initval", initval(name))
    sets.add(IpSet(name, kind, Options(**found)))


def _check_name(name: str) -> None:
    if len(name) > types.LONGEST_NAME:
        raise IpsetError(
            f"Syntax error: setname '{name}' is longer than {types.LONGEST_NAME} characters"
        )


def _alike(old: Options, new: Options) -> bool:
    """What the kernel compares before it lets an existing set pass for a new one."""
    fields = ("family", "netmask", "timeout_s", "counters", "comment", "maxelem", "range")
    return all(getattr(old, f) == getattr(new, f) for f in fields)


def _number(word: str, low: int, high: int) -> int:
    try:
        value = int(word, 0)
    except ValueError:
        raise IpsetError(f"Syntax error: '{word}' is invalid as number") from None
    if not low <= value <= high:
        raise IpsetError(f"Syntax error: '{word}' is out of range {low}-{high}")
    return value


def _allowed(kind: types.SetType) -> tuple[str, ...]:
    common = ("timeout", "counters", "comment")
    if kind.name.startswith("hash:"):
        netmask = ("netmask",) if kind.name == "hash:ip" else ()
        sized = ("family", "hashsize", "maxelem", "bucketsize", "initval", "forceadd")
        return (*common, *sized, *netmask)
    return (*common, "range" if kind.name == "bitmap:port" else "size")


def _options(kind: types.SetType, words: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    allowed = _allowed(kind)
    rest = iter(words)
    for word in rest:
        option = {"-6": "family", "from": "range"}.get(word, word)
        if option == "skbinfo":
            raise IpsetError("not modelled: option skbinfo")
        if option not in allowed:
            raise usage(f"Unknown argument: `{word}'")
        if option in _FLAGS:
            found[option] = True
            continue
        value = "inet6" if word == "-6" else next(rest, "")
        if not value:
            raise usage(f"Missing mandatory argument of option `{word}'")
        found.update(_option(option, value))
    if kind.name == "bitmap:port" and "range" not in found:
        raise usage("Mandatory option `range' is missing")
    return found


def _option(option: str, value: str) -> dict[str, Any]:
    if option == "family":
        families = {"inet": "inet", "ipv4": "inet", "inet6": "inet6", "ipv6": "inet6"}
        if value not in families:
            raise IpsetError(f"Syntax error: unknown inet family {value}")
        return {"family": families[value]}
    if option == "timeout":
        return {"timeout_s": _number(value, 0, types.LONGEST_TIMEOUT_S)}
    if option == "hashsize":
        size = max(_number(value, 0, 1 << 31), types.SMALLEST_HASH)
        return {"hashsize": 1 << (size - 1).bit_length()}
    if option == "range":
        low, dash, high = value.partition("-")
        if not dash:
            raise usage("Mandatory option `to' is missing")
        first, last = _number(low, 0, 65535), _number(high, 0, 65535)
        return {"range": (min(first, last), max(first, last))}
    if option == "size":
        return {"size": max(_number(value, 0, 1 << 16), types.SMALLEST_LIST)}
    if option == "netmask":
        return {"netmask": _number(value, 1, 128)}
    if option == "maxelem":
        return {"maxelem": _number(value, 0, (1 << 32) - 1)}
    if option == "bucketsize":
        return {"bucketsize": min(max(_number(value, 1, 255), 2) & ~1, 12)}
    return {"initval": _number(value, 0, (1 << 32) - 1)}


# ---------------------------------------------------------------- elements


def _target(sets: IpSets, verb: str, words: list[str]) -> tuple[IpSet, str, list[str]]:
    if not words:
        raise usage(f"Missing mandatory argument to command {verb}")
    found = sets.get(words[0])
    if len(words) < 2:
        raise usage(f"Missing second mandatory argument to command {verb}")
    return found, words[1], words[2:]


def _keys(made: IpSet, text: str) -> list[Key]:
    options = made.options
    return element.keys(text, made.kind, options.family, options.netmask, types.LARGEST_MAXELEM)


def _extras(made: IpSet, words: list[str], now_ns: int) -> tuple[Element, str, str]:
    """What follows an element: its timeout, counters, comment, nomatch; before/after which."""
    options = made.options
    found: dict[str, Any] = {}
    seconds = options.timeout_s or 0
    side = other = ""
    rest = iter(words)
    for word in rest:
        if word == "nomatch" and made.kind.nets:
            found["nomatch"] = True
        elif word in {"before", "after"} and made.kind.dimensions == ("set",):
            side, other = word, next(rest, "")
        elif word == "timeout":
            value = _number(next(rest, ""), 0, types.LONGEST_TIMEOUT_S)
            if options.timeout_s is None:
                raise _without("Timeout", "timeout")
            seconds = value
        elif word in {"packets", "bytes"}:
            if not options.counters:
                raise _without("Packet/byte counters", "counter")
            found[word] = _number(next(rest, ""), 0, (1 << 64) - 1)
        elif word == "comment":
            if not options.comment:
                raise _without("Comment", "comment")
            found["comment"] = next(rest, "")
        elif word.startswith("skb"):
            raise IpsetError(f"not modelled: option {word}")
        else:
            raise usage(f"Unknown argument: `{word}'")
    if options.timeout_s is not None and seconds:
        found["expires_ns"] = now_ns + seconds * SECOND_NS
    return Element(**found), side, other


def _without(what: str, support: str) -> IpsetError:
    return IpsetError(f"{what} cannot be used: set was created without {support} support")


def add(sets: IpSets, words: list[str], *, exist: bool, now_ns: int) -> None:
    """``add NAME ELEMENT [timeout S] [comment TEXT] [nomatch] ...``."""
    made, text, rest = _target(sets, "add", words)
    keys = _keys(made, text)
    kept, side, other = _extras(made, rest, now_ns)
    if made.kind.dimensions == ("set",):
        _add_member(sets, sets.own(made.name), text, kept, side, other, exist=exist)
        return
    made = sets.own(made.name)
    made.expire(now_ns)
    low, high = made.options.range
    for key in keys:
        if made.kind.name == "bitmap:port" and not low <= key[0] <= high:
            raise IpsetError("Element is out of the range of the set")
        if key in made.elements:
            if not exist:
                raise IpsetError("Element cannot be added to the set: it's already added")
        elif made.kind.name != "bitmap:port" and len(made.elements) >= made.options.maxelem:
            if not made.options.forceadd:
                raise IpsetError("Hash is full, cannot add more elements")
            made.drop(next(iter(made.elements)))
        made.put(key, kept)


def _add_member(
    sets: IpSets, made: IpSet, name: str, kept: Element, side: str, other: str, *, exist: bool
) -> None:
    if name not in sets or (other and other not in sets):
        raise IpsetError("Set to be added/deleted/tested as element does not exist.")
    if sets.get(name).kind.dimensions == ("set",):
        raise IpsetError("Sets with list:set type cannot be added to the set.")
    if side and (other,) not in made.elements:
        raise IpsetError(
            "The set to which you referred with 'before' or 'after' is not added to the set."
        )
    if (name,) in made.elements:
        if not exist:
            raise IpsetError("Element cannot be added to the set: it's already added")
        made.put((name,), kept)
        return
    made.put((name,), kept)
    if side:
        order = [key for key in made.elements if key != (name,)]
        order.insert(order.index((other,)) + (side == "after"), (name,))
        made.elements = {key: made.elements[key] for key in order}


def delete(sets: IpSets, words: list[str], *, exist: bool, now_ns: int) -> None:
    """``del NAME ELEMENT``."""
    made, text, rest = _target(sets, "del", words)
    keys = _keys(made, text)
    if rest and rest[0] not in {"before", "after"}:
        raise usage(f"Unknown argument: `{rest[0]}'")
    if made.kind.dimensions == ("set",) and text not in sets:
        raise IpsetError("Set to be added/deleted/tested as element does not exist.")
    made = sets.own(made.name)
    made.expire(now_ns)
    for key in keys:
        if key in made.elements:
            made.drop(key)
        elif not exist:
            raise IpsetError("Element cannot be deleted from the set: it's not added")


def test(sets: IpSets, words: list[str], now_ns: int) -> tuple[bool, str]:
    """``test NAME ELEMENT``: whether it is in, and what the tool says (on stderr)."""
    made, text, _ = _target(sets, "test", words)
    key = _keys(made, text)[0]
    found = contains(made, key, now_ns)
    said = f"Warning: {text} is in set {made.name}." if found else (
        f"{text} is NOT in set {made.name}.")  # fmt: skip
    return found, said + "\n"


def contains(made: IpSet, key: Key, now_ns: int) -> bool:
    """Whether a set holds a key: a single address is looked up in networks, a network as it is."""
    bits = BITS[made.options.family]
    exact = made.get(key, now_ns)
    if exact is not None:
        return not exact.nomatch
    if not made.kind.nets or any(key[i][1] != bits for i in made.kind.nets):
        return False
    plain = tuple(p[0] if i in made.kind.nets else p for i, p in enumerate(key))
    hit = made.find(plain, now_ns)
    return hit is not None and not hit[1].nomatch


# ---------------------------------------------------------------- whole sets


def several(sets: IpSets, verb: str, words: list[str], used: USED) -> None:
    """``flush [NAME]``, ``destroy [NAME]``."""
    names = words[:1] or list(sets.table)
    if verb == "flush":
        for name in names:
            sets.own(name).clear()
        return
    rules = used()
    for name in names:
        sets.get(name)
        inside = 0 if not words else sets.members(name)
        if rules.get(name, 0) or inside:
            raise IpsetError("Set cannot be destroyed: it is in use by a kernel component")
    for name in names:
        sets.remove(name)


def exchange(sets: IpSets, verb: str, words: list[str], used: USED) -> None:
    """``swap A B``, ``rename A B``."""
    if len(words) < 2:
        which = "second mandatory" if words else "mandatory"
        raise usage(f"Missing {which} argument to command {verb}")
    first, second = words[:2]
    made = sets.get(first)
    if verb == "rename":
        if used().get(first, 0) or sets.members(first):
            raise IpsetError("Set cannot be renamed: it is in use by another system")
        if second in sets:
            raise IpsetError("Set cannot be renamed: a set with the new name already exists")
        _check_name(second)
        sets.rename(first, second)
        return
    if second not in sets:
        raise IpsetError("Sets cannot be swapped: the second set does not exist")
    other = sets.get(second)
    if other.kind is not made.kind or other.options.family != made.options.family:
        raise IpsetError("The sets cannot be swapped: their type does not match")
    sets.swap(first, second)
