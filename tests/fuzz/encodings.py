"""Objects in YAML and protobuf."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from podwire.api import protobuf_encode, schema
from podwire.api.kinds import Kind
from tests.fuzz.drawing import NAMES, PATCHES, PROTOBUF, Asked, Drawing, target_of
from tests.samples import sample

_FOLDER = os.environ.get("PODWIRE_TESTDATA")
TESTDATA = sorted(Path(_FOLDER).glob("*.pb")) if _FOLDER else []
"""Upstream's own messages, where they are at hand."""


class Encodings(Drawing):
    """Other encodings than JSON."""

    def protobuf(self) -> Asked:
        """A protobuf message with flipped bits: our own encoding, or upstream's test data."""
        if TESTDATA and self.rng.random() < 0.5:
            file = self.rng.choice(TESTDATA)
            group_version, kind_name = file.stem.rsplit(".", 1)
            kind = next(
                (
                    k
                    for k in self.kinds
                    if k.kind == kind_name and group_version.endswith(k.version)
                ),
                self.kinds[0],
            )
            data = file.read_bytes()
        else:
            kind = self.kind()
            type_ = schema.type_of(kind)
            obj = sample(kind, self.rng.choice(NAMES))
            message = protobuf_encode.encode(type_, obj) if type_ else b""
            data = protobuf_encode.wrap(kind.api_version, kind.kind, message)
        body = self.wild.flipped(data)
        return Asked(
            "protobuf",
            "POST",
            target_of(self.collection(kind), self.query_of()),
            {"Content-Type": PROTOBUF},
            body,
        )

    def yaml(self) -> Asked:
        """YAML: bombs, merge keys, anchors that lead to themselves, tags, several documents."""
        kind = self.kind()
        text = yaml.safe_dump(self._yaml_object(kind), allow_unicode=True).encode(
            "utf-8", "replace"
        )
        which = self.rng.randrange(12)
        if which == 0:
            lines = ["a0: &a0 [x]"] + [
                f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)
            ]
            text += "\n".join(lines).encode()
        elif which == 1:
            text += b"m: &m {<<: *m}\n"
        elif which == 2:
            lines = ["m0: &m0 {a: 1}"] + [
                f"m{i}: &m{i} {{<<: [{','.join([f'*m{i - 1}'] * 9)}]}}" for i in range(1, 12)
            ]
            text += "\n".join(lines).encode()
        elif which == 3:
            text = text.replace(
                b": ",
                self.rng.choice(
                    (
                        b": !!python/object:os.system ",
                        b": !!binary ",
                        b": &x ",
                        b": *x ",
                        b": !!int ",
                    )
                ),
                1,
            )
        elif which == 4:
            text += b"---\n" * self.rng.choice((1, 1000))
        elif which == 5:
            text += b"d: " + self.rng.choice((b"[", b"{a: ", b"- ", b"? ")) * self.rng.choice(
                (50, 1000, 20_000)
            )
        elif which in {6, 7}:
            text = self.wild.flipped(text)
        elif which == 8:
            text += b"k: " + self.rng.choice(
                (
                    b"0x" + b"f" * 5000,
                    b"1" * 5000,
                    b"2026-99-99",
                    b"1:99:99",
                    b".inf",
                    b".nan",
                    b"0o9",
                )
            )
        media = self.rng.choice(("application/yaml", PATCHES["apply"]))
        if media == "application/yaml":
            return Asked(
                "yaml",
                "POST",
                target_of(self.collection(kind), self.query_of()),
                {"Content-Type": media},
                text,
            )
        target = target_of(self.named(kind), {"fieldManager": "f", **self.query_of()})
        return Asked("yaml", "PATCH", target, {"Content-Type": media}, text)

    def _yaml_object(self, kind: Kind[Any]) -> Any:
        return json.loads(json.dumps(self.object(kind)))
