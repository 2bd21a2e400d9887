"""Texts and frames that shrink: what the requests try over HTTPS, at the parsers themselves."""

import asyncio
import base64
import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from podwire.api import codec, kinds, protobuf_encode, schema, yamldoc
from podwire.api.cel.checking import compile_rule
from podwire.api.cel.declarations import declare
from podwire.api.cel.values import EvalError
from podwire.api.managed.apply import apply, check_config
from podwire.api.managed.managers import APPLY, Manager, created
from podwire.api.managed.plans import plan_of
from podwire.api.status import ApiError
from podwire.apiserver.http.spdy.connection import MAX_STREAMS, MAX_UNREAD_BYTES, SpdyConnection
from podwire.apiserver.http.spdy.frames import Data, Encoder, Ping, RstStream, SynStream
from podwire.apiserver.http.websocket import WebSocket
from podwire.apiserver.tokens import Issuer, TokenError, new_signing_key
from podwire.runtime.entropy import of_system
from tests.rotation import examples
from tests.samples import sample
from tests.unit.apiserver_http.wires import wire

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)


def often(count):
    return settings(
        max_examples=examples(count), deadline=None, suppress_health_check=SLOW, database=None
    )


# ---------------------------------------------------------------- YAML

ANCHORS = st.sampled_from("abc")
NODES = st.recursive(
    st.sampled_from(("1", "~", "yes", "'x'", "!!binary aGk=", "0x1f", ".5", "{}", "[]"))
    | st.integers(1, 3000).map(lambda count: "t" * count)
    | ANCHORS.map("*{}".format),
    lambda inner: (
        st.lists(inner, max_size=9).map(lambda items: f"[{', '.join(items)}]")
        | st.builds("&{} {}".format, ANCHORS, inner)
        | st.lists(inner, max_size=4).map(
            lambda items: "{" + ", ".join(f"k{i}: {item}" for i, item in enumerate(items)) + "}"
        )
        | st.lists(inner, min_size=1, max_size=3).map(lambda items: f"{{<<: [{', '.join(items)}]}}")
    ),
    max_leaves=10,
)


def weight_bytes(value):
    """How long the JSON of a value would be at least, without making it: it may share its parts."""
    if isinstance(value, dict):
        return sum(len(key) + weight_bytes(item) for key, item in value.items())
    if isinstance(value, list):
        return sum(map(weight_bytes, value))
    return len(value) if isinstance(value, str) else 1


@often(150)
@given(st.lists(NODES, min_size=1, max_size=8), st.sampled_from((1, 9)))
def test_yaml_never_becomes_much_more_than_it_was(nodes, times):
    """Anchors, aliases and merge keys in any order: a value of a bounded size, or an error."""
    lines = [f"k{i}: &a [{', '.join([node] * times)}]" for i, node in enumerate(nodes)]
    text = "\n".join(lines).encode()
    with suppress(yamldoc.YamlError):
        assert weight_bytes(yamldoc.load(text)) < len(text) + 100 * yamldoc.MAX_ALIASED_NODES


def test_a_long_text_is_not_repeated_by_aliases():
    """A request of 1 MB would have become 20 GB of JSON."""
    text = b"a: &a " + b"x" * 1_000_000 + b"\n" + b"".join(b"k%d: *a\n" % i for i in range(20_000))
    with pytest.raises(yamldoc.YamlError, match="excessive aliasing"):
        yamldoc.load(text)


@pytest.mark.parametrize("opening", ["[", '{"a":', '[{"a":['])
@pytest.mark.parametrize("depth", [90, 2_000, 100_000])
def test_nesting_is_refused_in_every_textual_form(opening, depth):
    """However deep: a bad request, not an exhausted interpreter."""
    for media in ("application/json", "application/yaml"):
        with pytest.raises(ApiError) as caught:
            codec.decode(media, b'{"data":' + opening.encode() * depth, kinds.CONFIG_MAP)
        assert caught.value.code == 400


# ---------------------------------------------------------------- protobuf


def nested_message(depth):
    """JSONSchemaProps in its own ``not``, as often."""
    kind = kinds.named("apiextensions.k8s.io/v1", "CustomResourceDefinition")
    type_ = schema.type_of(kind)
    props = {"type": "object"}
    for _ in range(depth):
        props = {"not": props}
    version = {"name": "v1", "schema": {"openAPIV3Schema": props}}
    obj = {"spec": {"versions": [version]}}
    return kind, protobuf_encode.wrap(
        kind.api_version, kind.kind, protobuf_encode.encode(type_, obj)
    )


def test_messages_within_messages_are_bounded():
    """A few levels decode; many are a bad request."""
    kind, body = nested_message(20)
    assert codec.decode("application/vnd.kubernetes.protobuf", body, kind).obj["spec"]["versions"]
    kind, body = nested_message(150)
    with suppress(ApiError):
        codec.decode("application/vnd.kubernetes.protobuf", body, kind)


@often(100)
@given(
    st.sampled_from([kind for kind in kinds.STORED if schema.type_of(kind) is not None]),
    st.data(),
)
def test_a_damaged_message_is_refused_or_means_the_same_twice(kind, data):
    """What is let in is encoded again and read as itself."""
    type_ = schema.type_of(kind)
    message = bytearray(protobuf_encode.encode(type_, sample(kind, "a")))
    for _ in range(data.draw(st.integers(1, 4))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    media = "application/vnd.kubernetes.protobuf"

    def read(body):
        return codec.decode(
            media, protobuf_encode.wrap(kind.api_version, kind.kind, body), kind, codec.IGNORE
        ).obj

    with suppress(ApiError):
        obj = read(bytes(message))
        assert read(protobuf_encode.encode(type_, obj)) == obj


# ---------------------------------------------------------------- server-side apply

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2**63 - 1) | st.text(max_size=4)
    | st.sampled_from(("web", "main", "TCP", "$patch", "delete")),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from((
            "name", "containers", "ports", "containerPort", "protocol", "env", "labels", "spec",
            "finalizers", "volumes", "$patch", "$retainKeys", "resources", "limits",
        )), inner, max_size=4,
    ),
    max_leaves=15,
)  # fmt: skip


@often(100)
@given(st.sampled_from((kinds.POD, kinds.SERVICE, kinds.CONFIG_MAP)), VALUES, st.booleans())
def test_any_configuration_applies_or_is_refused(kind, value, force):
    """A conflict, a bad request or upstream's 500 of a misfit; the live object is left alone."""
    live = sample(kind, "a")
    step = plan_of(kind)
    before = json.dumps(live, sort_keys=True)
    entries = created(step, {}, live, Manager("other", "Update", "v1"), "2026-01-01T00:00:00Z", {})
    config = {"apiVersion": "v1", "kind": kind.kind, "metadata": {"name": "a"}, "spec": value}
    by = Manager("me", APPLY, "v1")
    refusal = None
    try:
        check_config(config, "v1", kind.kind)
        apply(
            step, live, config, entries, by, "2026-01-01T00:00:01Z", {}, {}, force=force, new=False
        )
    except ApiError as error:
        refusal = error
    assert refusal is None or refusal.code < 500 or "failed to create typed" in str(refusal)
    assert json.dumps(live, sort_keys=True) == before


# ---------------------------------------------------------------- tokens

ISSUER = Issuer(new_signing_key(of_system()))
CLAIMS = {"sub": "system:serviceaccount:default:default", "aud": [ISSUER.name], "exp": 2**33}
TOKEN = ISSUER.sign(CLAIMS)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "alg": st.sampled_from(("none", "None", "HS256", "RS256", "ES256", "ES512", "", 1, None)),
        "kid": st.sampled_from((ISSUER.key_id, "", "../../etc/passwd", None, 0, [], {})),
        "jwk": st.just(ISSUER.jwks()["keys"][0]), "jku": st.just("https://a"), "crit": st.just([1]),
        "b64": st.just(False), "zip": st.just("DEF"),
    },
)  # fmt: skip


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@often(120)
@given(st.data())
def test_only_the_token_that_was_signed_is_believed(data):
    """Heads with any algorithm, claims changed, parts cut, doubled or exchanged, padding added."""
    head, body, signature = TOKEN.split(".")
    parts = [
        st.just(head) | HEADERS.map(encoded) | st.text(max_size=12),
        st.just(body)
        | st.dictionaries(st.sampled_from((*CLAIMS, "iss", "nbf")), VALUES, max_size=4).map(
            lambda changed: encoded({"iss": ISSUER.name, **CLAIMS, **changed})
        )
        | st.binary(max_size=20).map(lambda raw: base64.urlsafe_b64encode(raw).decode()),
        st.sampled_from((signature, "", signature[:-1], signature + "=", signature + "AA", body))
        | st.binary(min_size=64, max_size=64).map(
            lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        ),
    ]
    token = data.draw(st.sampled_from((".", "..", " ."))).join(
        data.draw(part) for part in parts[: data.draw(st.integers(2, 3))]
    )
    found = None
    with suppress(TokenError):
        found = ISSUER.claims(token)
    assert found is None or token == TOKEN


# ---------------------------------------------------------------- streams

PARTS = st.sampled_from((
    b"\x82\x85abcdabcde", b"\x02\x83abcdabc", b"\x80\x83abcdabc", b"\x81\x82abcd\xff\xff",
    b"\x89\x80abcd", b"\x88\x82abcd\x62\x8a", b"\x8a\x80abcd", b"\x82\xfe\xff\xffabcd",
    b"\x82\xff" + b"\x7f" * 8, b"\x82\x05abcde", b"\xc2\x81abcda", b"\x83\x80abcd",
    b"\x09\x80abcd", b"\x82\xfe\x00\x7eabcd" + bytes(126),
)) | st.binary(max_size=12)  # fmt: skip


@often(120)
@given(st.lists(PARTS, max_size=10), st.integers(1, 200))
def test_whatever_comes_over_a_websocket_ends_or_is_a_message(parts, step):
    """Broken frames, reserved bits, lengths without end, control frames in pieces."""

    async def conversation():
        here, there = wire()
        socket = WebSocket(here)
        sent = b"".join(parts)
        for at in range(0, len(sent), step):
            await there.write(sent[at : at + step])
        there.close()
        heard = 0
        while (message := await socket.receive()) is not None:
            heard += len(message)
        assert heard <= len(sent) * 2  # text may grow as UTF-8
        await socket.close()

    asyncio.run(asyncio.wait_for(conversation(), 30))


IDS = st.integers(0, 12) | st.integers(2**31 - 3, 2**31 - 1)
HEAD = st.dictionaries(st.sampled_from(("streamtype", "port", "x")), st.text("ab", max_size=3))
FRAMES = st.one_of(
    st.builds(SynStream, IDS, HEAD, fin=st.booleans()),
    st.builds(Data, IDS, st.binary(max_size=30), fin=st.booleans()),
    st.builds(RstStream, IDS, st.integers(0, 20)),
    st.builds(Ping, IDS),
)


@often(100)
@given(st.lists(FRAMES, max_size=15), st.binary(max_size=10))
def test_whatever_comes_over_spdy_ends_with_its_connection(frames, rest):
    """Frames in any order, on streams that are not there: bounded, and everybody hears the end."""

    async def conversation():
        here, there = wire()
        connection = SpdyConnection(here)
        encoder = Encoder()
        for frame in frames:
            await there.write(encoder.encode(frame))
        if rest:
            await there.write(rest)
        there.close()
        await connection.run()
        assert len(connection._streams) <= MAX_STREAMS
        assert connection._unread <= MAX_UNREAD_BYTES + 64
        while stream := await connection.accept():
            with suppress(ConnectionError):
                while await stream.read():
                    pass

    asyncio.run(asyncio.wait_for(conversation(), 30))


# ---------------------------------------------------------------- what CEL says a rule costs

BOUNDED = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "s": {"type": "string", "maxLength": 20},
        "l": {"type": "array", "maxItems": 5, "items": {"type": "string", "maxLength": 8}},
        "m": {"type": "object", "maxProperties": 4, "additionalProperties": {"type": "integer"}},
    },
    "required": ["n", "s", "l", "m"],
}
TEXTS = st.recursive(
    st.sampled_from(("self.s", "'ab'", "self.l[0]")),
    lambda inner: (
        st.builds("({} + {})".format, inner, inner)
        | st.builds("{}.lowerAscii()".format, inner)
        | st.builds("{}.replace('a', {})".format, inner, st.just("'b'"))
    ),
    max_leaves=4,
)
TRUTHS = st.recursive(
    st.one_of(
        st.builds("({} == {})".format, TEXTS, TEXTS),
        st.builds("{}.contains({})".format, TEXTS, TEXTS),
        st.builds("{}.matches('a+b?')".format, TEXTS),
        st.builds("({} in self.l)".format, TEXTS),
        st.builds("self.l.all(x, x + {} != '')".format, TEXTS),
        st.builds("self.m.exists(k, k == {} || self.m[k] > self.n)".format, TEXTS),
        st.builds("self.l.map(x, x + {}).exists(y, y in self.l)".format, TEXTS),
        st.sampled_from(("self.n + 1 > 0", "self.l.size() < 3", "size(self.m) == 3")),
    ),
    lambda inner: st.one_of(
        st.builds("({} && {})".format, inner, inner),
        st.builds("({} ? {} : {})".format, inner, inner, inner),
        st.builds("self.l.all(z, {})".format, inner),
        st.builds("!({})".format, inner),
    ),
    max_leaves=5,
)


@often(100)
@given(
    TRUTHS,
    st.fixed_dictionaries({
        "n": st.integers(-5, 5), "s": st.text("abA", max_size=20),
        "l": st.lists(st.text("ab", max_size=8), max_size=5),
        "m": st.dictionaries(st.text("ab", max_size=8), st.integers(-5, 5), max_size=4),
    }),
)  # fmt: skip
def test_no_rule_costs_more_than_was_estimated(rule, value):
    """The estimate lets rules into a schema; what they cost in fact must stay below it.

    Two numbers of the object are not compared: as upstream's, the estimate of that is one too low.
    """
    compiled = compile_rule({"rule": rule}, declare(BOUNDED, root=False))
    assert compiled.program is not None, compiled.error
    with suppress(EvalError):
        _, cost = compiled.program.evaluate([value, None], 10**9)
        assert cost <= compiled.cost
