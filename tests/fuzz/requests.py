"""Requests of every family, drawn from a seed: ``Requests.draw()``."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.fuzz.drawing import JSON, PROTOBUF, Asked
from tests.fuzz.encodings import Encodings
from tests.fuzz.extensions import Extensions
from tests.fuzz.objects import Objects, Patches
from tests.fuzz.reading import Reading, Tokens

ACCEPTS = (
    "", JSON, "application/yaml", PROTOBUF, "*/*", "text/html", ";;",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/cbor",
    "," * 500,
    "application/com.github.proto-openapi.spec.v3.v1.0+protobuf",
)  # fmt: skip


class Requests:
    """Draws requests; ``token`` is one that the server believes."""

    def __init__(self, seed: int, token: str) -> None:
        self.rng = rng = random.Random(seed)  # noqa: S311  what is tested is no secret
        objects, patches, reading = Objects(rng), Patches(rng), Reading(rng)
        encodings, extensions = Encodings(rng), Extensions(rng)
        self.families: list[Callable[[], Asked]] = [
            objects.create, objects.create, objects.update, objects.subresource, objects.delete,
            patches.patch, patches.patch, patches.patch, reading.query, reading.path,
            encodings.protobuf, encodings.yaml, Tokens(rng, token).jwt,
            extensions.definition, extensions.custom, extensions.policy,
        ]  # fmt: skip

    def draw(self) -> Asked:
        """The next request."""
        asked = self.rng.choice(self.families)()
        if self.rng.random() < 0.1:
            asked.headers["Accept"] = self.rng.choice(ACCEPTS)
        return asked
