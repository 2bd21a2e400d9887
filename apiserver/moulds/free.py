"""Which strings of which kinds may differ between objects of one mould.

A string belongs here only if nothing on the way of a create decides by it, but for what its
pattern excludes and ``Free.tells`` tells. The patterns admit less than validation does.
"""

from __future__ import annotations

from typing import Any

from podwire.api import kinds
from podwire.api.defaults.pod import pull_policy
from podwire.api.kinds import Kind
from podwire.api.view import JSON
from podwire.apiserver.moulds.text import Free, Path, Place, places

_LABEL = rb"[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"
_PART = rb"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?"
_TEXT = rb"[ !#-\[\]-~]*"
_ESCAPE = rb'\\["\\nrt]'
"""Those that are written again as they were."""


def _word(round: int, number: int, _there: str) -> str:
    return f"m{'qz'[round]}{number:04}x"


def _image(round: int, number: int, there: str) -> str:
    return f"{_word(round, number, there)}:{'latest' if pull_policy(there) == 'Always' else 'v1'}"


def _time(round: int, number: int, _there: str) -> str:
    return f"20{round:02}-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z"


NAME = Free(_LABEL, _word)
"""A name that is a DNS label: of one with dots a client may be warned."""
DOTTED = Free(rb"(?:%b\.){0,2}%b" % (_PART, _PART), _word)
KEY = Free(_LABEL, _word, keys=True)
PREFIX = Free(rb"[a-z][-a-z0-9]{0,57}", _word)
"""What a name is generated from, as it is: no longer than is left of it."""
LABEL_VALUE = Free(rb"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", _word)
TEXT = Free(rb'(?=[^"])%b(?:%b%b)*' % (_TEXT, _ESCAPE, _TEXT), _word)
IMAGE = Free(rb"[A-Za-z0-9][-A-Za-z0-9._/:@]*", _image, pull_policy)
UID = Free(rb"[-A-Za-z0-9]{1,63}", _word)
OWNER_UID = UID._replace(keys=True)
TIME = Free(rb"20[0-9][0-9]-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])T"
            rb"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z", _time)  # fmt: skip

_EACH = "*"
"""Any index, or any name that is not Kubernetes' own."""
_OWN = ("kubernetes.io", "k8s.io")

Table = dict[tuple[str, ...], Free]

_METADATA: Table = {
    ("metadata", "generateName"): PREFIX,
    ("metadata", "labels", _EACH): LABEL_VALUE,
    ("metadata", "annotations", _EACH): TEXT,
}
_OWNERS: Table = {
    ("metadata", "ownerReferences", _EACH, "name"): DOTTED,
    ("metadata", "ownerReferences", _EACH, "uid"): OWNER_UID,
}
_CONTAINER: Table = {
    ("name",): KEY,
    ("image",): IMAGE,
    ("command", _EACH): TEXT,
    ("args", _EACH): TEXT,
    ("env", _EACH, "value"): TEXT,
}
_POD: Table = {
    ("metadata", "name"): NAME,
    **_METADATA,
    **_OWNERS,
    **{("spec", "containers", _EACH, *path): free for path, free in _CONTAINER.items()},
}
_EVENT: Table = {
    ("metadata", "name"): DOTTED,
    ("involvedObject", "name"): DOTTED,
    ("involvedObject", "uid"): UID,
    ("involvedObject", "resourceVersion"): UID,
    ("message",): TEXT,
    ("firstTimestamp",): TIME,
    ("lastTimestamp",): TIME,
    ("source", "host"): DOTTED,
    ("reportingInstance",): DOTTED,
}
FREE: dict[Kind[Any], Table] = {kinds.POD: _POD, kinds.EVENT: _EVENT}
"""By kind; others have no moulds. All are their own stored version, and allocate nothing."""


def places_of(kind: Kind[Any], body: bytes) -> list[Place]:
    """The free strings of a body."""
    table = FREE[kind]
    found = places(body, lambda path: _free_at(table, path))
    if b'"initContainers"' in body:  # whose names those of other containers may not be
        found = [place for place in found if place.free is not KEY]
    return found


def _free_at(table: Table, path: Path) -> Free | None:
    """What of a path's string is free; None: nothing."""
    names = tuple(_EACH if isinstance(step, int) else step for step in path)
    found = table.get(names)
    if found is None and len(names) == 3 and names[:2] in _NAMED:
        own = names[1] == "annotations" and any(part in names[2] for part in _OWN)
        found = None if own else table.get((*names[:2], _EACH))
    return found


_NAMED = (("metadata", "labels"), ("metadata", "annotations"))


def fits(kind: Kind[Any], obj: JSON) -> bool:
    """Whether an object has none of what makes free strings matter."""
    if kind is kinds.POD:
        groups = [obj["spec"].get(group) or () for group in ("containers", "initContainers")]
        return all(_variables_differ(container) for group in groups for container in group)
    return not obj.get("eventTime")  # Events of the new kind may only be so long


def _variables_differ(container: JSON) -> bool:
    """Of a variable that is set twice, its value says whether somebody is to be warned."""
    names = [variable.get("name") for variable in container.get("env") or ()]
    return len(set(names)) == len(names)
