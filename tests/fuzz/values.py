"""Values, objects and texts that are wrong in many ways, drawn from a seed."""

from __future__ import annotations

import json
import random
from typing import Any

from podwire.api.schema import Field, Type, type_named

STRINGS = (
    "", "a", "default", "A" * 300, "ü\u0000\u202e", "\ud7ff\U0001f980", "..", "a/b", "%2e%2e", "-1",
    "1e9999", "NaN", "0x10", "9" * 400, "$(A)", "{{.x}}", "a=b,c", "::", "::1/64", "10.0.0.0/8",
    "300.1.1.1", "2026-02-30T25:61:61Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z",
    "1Gi", "1e-30", "0.0000000001n", "-0", "*/0 * * * *", "a.b.c/d", "[" * 50, "(a+)+$", "null",
    "RollingUpdate", "Always", "ClusterIP", "None", "1970-01-01T00:00:00.5+23:59", "x" * 5000,
)  # fmt: skip
NUMBERS: tuple[Any, ...] = (
    0, 1, -1, 7, 65535, 65536, 2**31 - 1, 2**31, -(2**31) - 1, 2**53, 2**63 - 1, 2**63, -(2**64),
    0.5, -0.0, 1e308, 5e-324, 10**40,
)  # fmt: skip
TOKENS = (
    "self", "oldSelf", "object", "request", "params", "has", "(", ")", "[", "]", ".", ",", "&&",
    "||",
    "!", "?", ":", "==", "!=", "<", ">=", "+", "-", "*", "/", "%", "in", "1", "0",
    "-9223372036854775808",
    "9223372036854775807", "1u", "1.5e308", "'a'", '"\\u0000"', "r'\\d'", "b'\\xff'", "null",
    "true",
    "size(", "matches(", "'(a+)+$'", "all(x,", "exists(x,", "map(x,", "filter(x,", "x", "spec",
    "metadata",
    "duration('1h')", "timestamp('0001-01-01T00:00:00Z')", "quantity('1Gi')", "url('http://a')",
    "ip('::1')", "cidr('10.0.0.0/33')", "format.dns1123Label()", "split(',')",
    "replace('a','b',-1)",
    "'%d%s'.format([", "optional.none()", ".?", "[?", "{", "}", "type(", "dyn(", "int(", "string(",
    "sets.contains(", "isSorted()", "sum()", "indexOf(", "substring(", "\n", "//", "ü", "\x00",
)  # fmt: skip
OPERATORS = ("=", "==", "!=", " in ", " notin ", ">", "<", ",", "(", ")", "!", " ", "\\", "%")


class Wild:
    """Draws from ``rng``."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def text(self) -> str:
        """A string."""
        if self.rng.random() < 0.8:
            return self.rng.choice(STRINGS)
        return "".join(
            chr(self.rng.choice((33, 97, 0x7F, 0xE9, 0x2028, 0x1F600))) for _ in range(5)
        )

    def scalar(self) -> Any:
        """A string, number, boolean or null."""
        return self.rng.choice((self.text(), self.rng.choice(NUMBERS), True, False, None))

    def value(self, depth: int = 3) -> Any:
        """Any JSON."""
        if depth == 0 or self.rng.random() < 0.5:
            return self.scalar()
        count = self.rng.randrange(4)
        if self.rng.random() < 0.5:
            return [self.value(depth - 1) for _ in range(count)]
        return {self.text(): self.value(depth - 1) for _ in range(count)}

    def struct(self, of: Type, depth: int = 6) -> Any:
        """A value of a type, most of its fields of the right shape."""
        fields = list(of.fields.values())
        few = self.rng.sample(fields, min(len(fields), self.rng.randrange(1, 6)))
        return {field.name: self.field(field, depth) for field in few}

    def field(self, field: Field, depth: int) -> Any:
        """A value for a field, sometimes of another type."""
        if self.rng.random() < 0.04:
            return self.value()
        if field.shape == "[":
            return [self._single(field, depth) for _ in range(self.rng.randrange(4))]
        if field.shape == "{":
            return {self.text(): self._single(field, depth) for _ in range(self.rng.randrange(3))}
        return self._single(field, depth)

    def _single(self, field: Field, depth: int) -> Any:
        code = field.code[-1]
        if code == "m" and field.ref:
            return self.struct(type_named(field.ref), depth - 1) if depth > 0 else {}
        if code == "b":
            return self.rng.random() < 0.5
        if code in "ilf":
            return self.rng.choice(NUMBERS[:11] if self.rng.random() < 0.8 else NUMBERS)
        if code in "ASBrxv":
            return self.value()
        return self.text()

    def broken(self, value: Any) -> Any:
        """``value`` (JSON, changed in place) with one to three of its places spoilt."""
        for _ in range(self.rng.randrange(1, 4)):
            at, where = value, self.rng.randrange(1, 7)
            for _ in range(where):
                if isinstance(at, dict) and at:
                    key = self.rng.choice(list(at))
                elif isinstance(at, list) and at:
                    key = self.rng.randrange(len(at))
                else:
                    break
                inner = at[key]
                if not isinstance(inner, dict | list) or self.rng.random() < 0.2:
                    at[key] = self.value() if self.rng.random() < 0.7 else [inner, inner]
                    break
                at = inner
            else:
                if isinstance(at, dict):
                    at[self.text()] = self.value()
        return value

    def selector(self) -> str:
        """A label or field selector, perhaps."""
        words = (*OPERATORS, "app", "metadata.name", "spec.nodeName", "a", self.text())
        return "".join(self.rng.choice(words) for _ in range(self.rng.randrange(1, 8)))

    def expression(self) -> str:
        """A CEL expression, perhaps."""
        kind = self.rng.randrange(8)
        if kind == 0:
            return self.rng.choice("([{-!") * self.rng.choice((10, 300, 3000)) + "1"
        if kind == 1:
            nest = self.rng.randrange(1, 7)
            inner = "".join(f"self.spec.tags.all(x{i}, " for i in range(nest))
            return inner + "true" + ")" * nest
        if kind == 2:
            return " + ".join(["self.spec.name"] * self.rng.choice((2, 50, 2000))) + " == 'a'"
        return " ".join(self.rng.choice(TOKENS) for _ in range(self.rng.randrange(1, 12)))

    def pointer(self, body: Any) -> str:
        """A JSON pointer, most often into ``body``."""
        if self.rng.random() < 0.2:
            return self.rng.choice(
                ("", "/", "//", "/~2", "/metadata/-", "x", "/a" * 500, "/-1", "/~")
            )
        path, at = "", body
        while isinstance(at, dict | list) and at and self.rng.random() < 0.8:
            key: Any = (
                self.rng.choice(list(at)) if isinstance(at, dict) else self.rng.randrange(len(at))
            )
            path += "/" + str(key).replace("~", "~0").replace("/", "~1")
            at = at[key]
        return path + self.rng.choice(("", "", "/-", "/0", "/x"))

    def encoded(self, value: Any) -> bytes:
        """JSON text of a value, sometimes not quite."""
        text = json.dumps(value).encode()
        kind = self.rng.randrange(40)
        if kind == 0:
            return self.flipped(text)
        if kind == 1:
            return text[: self.rng.randrange(len(text) + 1)]
        if kind == 2:
            return text.replace(
                b":", self.rng.choice((b":NaN,", b":-Infinity", b"::", b":1e400")), 1
            )
        if kind == 3:
            return b'{"metadata":{"name":"a"},' * 2 + text[1:]
        if kind == 4:
            depth = self.rng.choice((50, 200, 1000, 10_000, 200_000))
            return text[:-1] + b',"x":' + self.rng.choice((b"[", b'{"a":')) * depth
        if kind == 5:
            return b'{"%s":1,' % (b"k" * self.rng.choice((1000, 1_000_000))) + text[1:]
        if kind == 6:
            return text.replace(b'"', b'"\xff\xc0', 3)
        if kind == 7:
            depth = self.rng.choice((50, 200, 1000, 10_000))
            return text[:-1] + b',"spec":' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
        return text

    def flipped(self, data: bytes) -> bytes:
        """``data`` with a few bits, bytes or stretches changed."""
        changed = bytearray(data)
        for _ in range(self.rng.randrange(1, 5)):
            if not changed:
                break
            at = self.rng.randrange(len(changed))
            kind = self.rng.randrange(4)
            if kind == 0:
                changed[at] ^= 1 << self.rng.randrange(8)
            elif kind == 1:
                changed[at] = self.rng.choice((0, 0x7F, 0x80, 0xFF))
            elif kind == 2:
                del changed[at : at + self.rng.randrange(1, 20)]
            else:
                changed[at:at] = changed[at : at + self.rng.randrange(1, 20)]
        return bytes(changed)
