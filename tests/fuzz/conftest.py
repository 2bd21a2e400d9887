"""The server behind its HTTPS door, with a defined kind whose rules count, and a believed token."""

import asyncio
import dataclasses
import io
import os
import random

import pytest

from podwire.api import kinds
from podwire.apiserver.accounts import ServiceAccounts
from podwire.apiserver.tokens import Issuer, new_signing_key
from podwire.runtime.entropy import of_system
from podwire.runtime.log import logger
from tests.samples_crd import definition
from tests.unit.apiserver_http.conftest import _short_linger, site  # noqa: F401  fixtures

SWEEP = bool(os.environ.get("PODWIRE_SWEEP"))
RULES = (
    "self.size >= oldSelf.size || self.size < 5",
    "!has(self.tags) || self.tags.all(t, self.tags.exists_one(u, u == t))",
    "!has(self.name) || self.name.matches('^(a+)+$') || self.name.size() > 0",
    "!has(self.labels) || self.labels.all(k, k.lowerAscii() == k && self.labels[k] != k)",
    "!has(self.port) || string(self.port) != '0'",
    "!has(self.parts) || self.parts.map(p, p.weight).sum() < 9223372036854775807",
)


@pytest.fixture
def seed():
    """Drawn anew for each run; FUZZ_SEED repeats one."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    drawn = random.Random(run).randrange(2**32)  # noqa: S311  what is tested is no secret
    return int(os.environ.get("FUZZ_SEED") or drawn)


@pytest.fixture
async def target(site):  # noqa: F811
    """``site``, with what fuzzing needs in it, and a ``complaints`` list of what was logged."""
    complaints = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _loop, context: complaints.append(context))
    obj = definition()
    version = obj["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    rules = [{"rule": rule} for rule in RULES]
    version["properties"]["spec"]["x-kubernetes-validations"] = rules
    for name, limits in {
        "tags": ("maxItems", 5),
        "parts": ("maxItems", 5),
        "labels": ("maxProperties", 5),
    }.items():
        version["properties"]["spec"]["properties"][name][limits[0]] = limits[1]
    fields = version["properties"]["spec"]["properties"]
    fields["tags"]["items"]["maxLength"] = 50
    fields["labels"]["additionalProperties"]["maxLength"] = 50
    await site.client.create(
        kinds.named("apiextensions.k8s.io/v1", "CustomResourceDefinition"), obj
    )
    issuer = Issuer(new_signing_key(of_system()))
    site.http.authenticator.accounts = ServiceAccounts(site.server, issuer)
    site.issuer = issuer
    site.complaints = complaints
    site.told = io.StringIO()
    """All that the server logs."""
    log = logger(site.server.world.clock, "debug", site.told)
    site.server.world = dataclasses.replace(site.server.world, log=log)
    site.http.log = log
    return site
