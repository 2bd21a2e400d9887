"""The short way through decoding says what the long way says, or nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from podwire.api import codec, kinds, patch, schema, structure, typed
from podwire.api.schema import Field, Type
from podwire.api.status import ApiError

KINDS = sorted(name for name in schema.kind_names() if "List" not in name)
COMMON = ("v1/Pod", "apps/v1/Deployment", "v1/Service", "v1/Event", "v1/Node", "batch/v1/CronJob")
FOLDER = os.environ.get("PODWIRE_TESTDATA", "")

GOOD: dict[str, tuple[Any, ...]] = {
    "s": ("a", "a:0,b", "f:false,", "\u00e9\u2028", 'say ":""', "back\\u003aslash", ":[]"),
    "b": (True,), "i": (1, -1, 80, 2**31 - 1, -(2**31)), "l": (1, -7, 2**63 - 1, -(2**63)),
    "f": (1, 1.5, 10**30), "y": ("aGk=", "aGk=\n"), "t": ("2026-01-02T03:04:05+01:00",),
    "u": ("2026-01-02T03:04:05.000001Z",), "q": ("0.5", "1024Mi", 3, 1.5, " 1 ", 10**25),
    "x": (1, "50%", -3), "r": ({"a": [1, {"b": ":0"}]}, {"x": None}, [1], "text"),
    "v": ({"f:metadata": {".": {}}},), "e": (["a"], ["a", ""]),
    "A": ({"type": "string"}, [{"type": "string"}]), "B": (True, False, {"type": "string"}),
    "S": (["a"], {"type": "string"}),
}  # fmt: skip
ODD: tuple[Any, ...] = (
    None, "", 0, False, [], {}, 0.0, -0.0, 1.0, True, 2**31, 2**63, 10**40, "text", [None], [{}],
    {"a": None}, [""], {"": ""}, [[]], -1, {"unknownField": {}}, "2026-01-02", "1Q", "=", ":0,",
)  # fmt: skip


class Doubled(dict[str, Any]):
    """A JSON object, some of whose names are written twice."""


def value_of(random: Random, field: Field, depth: int, odd: float) -> Any:
    """Something that might stand in a field: the less ``odd``, the more often what should."""
    if random.random() < odd:
        return random.choice(ODD)
    code = field.code[-1]
    if field.shape:
        items = [value_of(random, msgspec.structs.replace(field, code=code), depth, odd)
                 for _ in range(random.randrange(1, 4))]  # fmt: skip
        return items if field.shape == "[" else {f"k{i}": item for i, item in enumerate(items)}
    if code == "m":
        return message_of(random, schema.type_named(field.ref), depth + 1, odd)
    return random.choice(GOOD[code])


def message_of(random: Random, type: Type, depth: int, odd: float) -> dict[str, Any]:
    """An object of a type, with fields in any order; deep ones have few."""
    fields = list(type.fields.values())
    random.shuffle(fields)
    kept = random.choice((0.1, 0.5, 1.0)) / (1 + depth)
    chosen = [f for f in fields if random.random() < kept or ("r" in f.flags and depth < 6)]
    made: dict[str, Any] = {f.name: value_of(random, f, depth, odd) for f in chosen[:14]}
    if random.random() < odd / 4:
        made["unknown:Field"] = random.choice(ODD)
    return Doubled(made) if random.random() < odd / 4 else made


def text_of(random: Random, value: Any) -> str:
    """JSON in somebody's own style: blanks, escapes, names that stand twice."""
    blank = random.choice(("", "", " ", "\n  "))
    if isinstance(value, dict):
        names = [*value, random.choice([*value, "more"])] if isinstance(value, Doubled) else value
        pairs = [f"{string_of(random, name)}{blank}:{blank}{text_of(random, value.get(name))}"
                 for name in names]  # fmt: skip
        return "{" + f",{blank}".join(pairs) + blank + "}"
    if isinstance(value, list):
        return "[" + f",{blank}".join(text_of(random, item) for item in value) + "]"
    return string_of(random, value) if isinstance(value, str) else json.dumps(value)


def string_of(random: Random, text: str) -> str:
    """A JSON string, sometimes with escapes where none are needed."""
    plain = random.random() < 0.95
    ascii_only = random.random() < 0.5
    escapes = {} if plain else {":": random.choice((r"\u003a", r"\u003A")), "a": r"\u0061"}
    shown = (escapes.get(c) or json.dumps(c, ensure_ascii=ascii_only)[1:-1] for c in text)
    return f'"{"".join(shown)}"'


def outcome(name: str, body: bytes, validation: str) -> Any:
    """What decoding comes to: text and warnings, or the refusal."""
    api_version, _, kind = name.rpartition("/")
    try:
        found = codec.decode_as("application/json", body, api_version, kind, validation)
    except ApiError as error:
        return error.status()
    return json.dumps(found.obj), found.warnings


def both_ways(name: str, body: bytes, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, bool]:
    """The outcome, held to that of the long way, and whether the short way had something to say."""
    api_version, _, kind = name.rpartition("/")
    struct = schema.type_of_gvk(api_version, kind)
    assert struct is not None
    with monkeypatch.context() as patched:
        patched.setattr(typed, "USES_BEFORE", 0)
        short = typed.read(struct, body)
        for validation in (codec.STRICT, codec.WARN, codec.IGNORE):
            found = outcome(name, body, validation)
            with monkeypatch.context() as blind:
                blind.setattr(typed, "read", lambda _type, _body: None)
                blind.setattr(typed, "same_colons", lambda _text, _written: False)
                assert found == outcome(name, body, validation)
    return found, short is not None


@given(
    st.one_of(st.sampled_from(COMMON), st.sampled_from(KINDS)),
    st.integers(0, 2**32),
    st.sampled_from((0.0, 0.002, 0.01, 0.05)),
)
def test_both_ways_through_decoding_say_the_same(name: str, seed: int, odd: float) -> None:
    """Object, order of fields, warnings and refusals are those of the long way, byte by byte."""
    random = Random(seed)  # noqa: S311  bodies, no secrets
    api_version, _, kind = name.rpartition("/")
    struct = schema.type_of_gvk(api_version, kind)
    assert struct is not None
    body = message_of(random, struct, 0, odd)
    body |= {"apiVersion": api_version, "kind": kind}
    with pytest.MonkeyPatch.context() as monkeypatch:
        both_ways(name, text_of(random, body).encode(), monkeypatch)


@given(st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(("", ":", "a:b", "\\u003a")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(("a", "b", "a:b", "")), inner, max_size=3).map(Doubled),
), st.integers(0, 2**32))  # fmt: skip
@example(Doubled({"a": "x"}), 1)
def test_equal_colons_prove_that_no_name_was_doubled(value: Any, seed: int) -> None:
    """Whatever the text looks like: where colons are equal, a reader that keeps all pairs finds
    no name twice.
    """
    body = text_of(Random(seed), value).encode()  # noqa: S311  bodies, no secrets
    doubled: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        doubled.extend(["twice"] if len(dict(found)) < len(found) else [])
        return dict(found)

    json.loads(body, object_pairs_hook=pairs)
    if typed.same_colons(body, msgspec.json.encode(msgspec.json.decode(body))):
        assert not doubled


@pytest.mark.parametrize("odd", [
    b'{"metadata":{"name":"a","name":"a"},"data":{"k":"\\u003a"}}',
    b'{"metadata":{"name":"a"},"data":{"k":"v"},"other":"\\u003a"}',
    b'{"metadata":{"creationTimestamp":null},"binaryData":{"a":"="}}',
    b'{"metadata":{"name":"a"},"data":{"k":"v"}} {}',
    b'{"metadata":{"name":"a"},"immutable":0}',
    b'{"metadata":{"name":"a"},"kind":"Secret"}',
    b'{"metadata":{"name":"\xff"}}', b'{"metadata":{"name":"\\ud800"}}', b"[]", b"",
])  # fmt: skip
def test_what_is_doubtful_goes_the_long_way(odd: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A doubled or unknown name behind an escaped colon, wrong values, half a text."""
    _, short = both_ways("v1/ConfigMap", odd, monkeypatch)
    assert not short or b"Secret" in odd


def test_an_empty_time_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no time, though other empty values are as good as none."""
    found, short = both_ways(
        "v1/Event", b'{"involvedObject":{"uid":""},"firstTimestamp":""}', monkeypatch
    )
    assert not short
    assert 'parsing time ""' in str(found)


def test_usual_bodies_go_the_short_way(upstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every kind of upstream's data, and objects with empty and null values where Go has them."""
    for name, (body, _) in upstream.items():
        api_version, _, kind = name.rpartition("/")
        struct = schema.type_of_gvk(api_version, kind)
        assert struct is not None
        text = json.dumps(body).encode()
        found, short = both_ways(name, text, monkeypatch)
        assert short, name
        assert json.loads(found[0]) == structure.check(struct, body)[0]
    pod = {
        "apiVersion": "v1", "kind": "Pod", "status": {},
        "metadata": {"name": "a", "creationTimestamp": None, "labels": {}, "generateName": ""},
        "spec": {"hostNetwork": False, "containers": [{
            "name": "a", "resources": {}, "args": [], "env": [{"name": "E", "value": ""}],
            "securityContext": {"privileged": False, "runAsUser": 0},
        }]},
    }  # fmt: skip
    found, short = both_ways("v1/Pod", json.dumps(pod).encode(), monkeypatch)
    assert short
    [container] = json.loads(found[0])["spec"]["containers"]
    assert container == {
        "name": "a", "resources": {}, "env": [{"name": "E"}],
        "securityContext": {"privileged": False, "runAsUser": 0},
    }  # fmt: skip


@pytest.mark.parametrize("path", sorted(Path(FOLDER).glob("*.json")) if FOLDER else [])
def test_all_kinds_go_the_short_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """193 kinds with every field set."""
    group, version, kind = path.stem.rsplit(".", 2)
    name = f"{version if group == 'core' else f'{group}/{version}'}/{kind}"
    if schema.type_of_gvk(*name.rsplit("/", 1)) is not None:
        both_ways(name, path.read_bytes(), monkeypatch)


@pytest.mark.parametrize("media", [patch.MERGE_PATCH_TYPE, patch.STRATEGIC_PATCH_TYPE])
@given(st.integers(0, 2**32), st.sampled_from((0.0, 0.01, 0.05)), st.booleans())
@settings(max_examples=30)
def test_both_ways_through_patching_say_the_same(
    media: str, seed: int, odd: float, status: bool
) -> None:
    """The outcome of a patch, or why there is none; also where /status takes only a part of it:
    what it does not take is what there is.
    """
    random = Random(seed)  # noqa: S311  bodies, no secrets
    struct = schema.type_of(kinds.POD)
    assert struct is not None
    names = {"apiVersion": "v1", "kind": "Pod"}
    change = message_of(random, struct, 2, odd) | names
    if status:
        change = {name: change[name] for name in ("metadata", "status") if name in change}
    text = text_of(random, change).encode()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(typed, "USES_BEFORE", 0)
        body = json.dumps(message_of(random, struct, 1, 0.0) | names).encode()
        original = codec.decode("application/json", body, kinds.POD, codec.IGNORE).obj

        def outcome(validation: str, taken: tuple[str, ...] | None = None) -> Any:
            try:
                found = patch.apply_patch(kinds.POD, media, original, text, validation, taken=taken)
            except ApiError as error:
                return error.status()
            return json.dumps(found.obj), found.warnings

        for validation in (codec.STRICT, codec.WARN, codec.IGNORE):
            found = outcome(validation)
            part = outcome(validation, ("apiVersion", "kind", "metadata", "status"))
            with monkeypatch.context() as blind:
                blind.setattr(typed, "read", lambda _type, _body: None)
                assert found == part == outcome(validation)
