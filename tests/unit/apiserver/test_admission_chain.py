"""How admission runs: two phases, in one order, waiting only for who has something to wait for."""

from __future__ import annotations

import asyncio

import pytest

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.apiserver.admission import PLUGINS, Chain, Plugin
from podwire.apiserver.storage import ADMISSION_READS

POD, CONFIG_MAP = kinds.POD, kinds.CONFIG_MAP
EVERYTHING = ("CREATE", "UPDATE", "DELETE", "CONNECT")
MERGE = "application/merge-patch+json"
CONTAINERS = [{"name": "c", "image": "nginx"}]


class Watching:
    """Two plugins that write down what they see."""

    def __init__(self, name: str, told: list[object]) -> None:
        self.name = name
        self.told = told

    def plugin(self) -> Plugin:
        return Plugin(
            self.name, self.admit, self.validate, operations=EVERYTHING, subresources=None
        )

    def admit(self, review) -> None:
        self.told.append((self.name, "admit", review.operation, review.subresource))

    async def validate(self, review) -> None:
        await asyncio.sleep(0.5)
        self.told.append((self.name, "validate", review.operation, review.subresource))


def seen(w, *plugins: Plugin) -> None:
    """Run only these (and those that need nothing) from now on."""
    w.server.admission = Chain(plugins)


def test_all_that_mutate_come_before_all_that_validate_and_one_may_wait(simulate):
    """The second phase sees the finished object: with its uid, generated name and status."""
    told: list[object] = []

    def last(review) -> None:
        told.append(("last", review.obj["metadata"]["name"], "uid" in review.obj["metadata"]))

    def first(review) -> None:
        told.append(("first", review.name, "uid" in review.obj["metadata"]))

    async def story(w):
        seen(w, Watching("a", told).plugin(), Watching("b", told).plugin(),
             Plugin("c", first, last))  # fmt: skip
        body = {"metadata": {"generateName": "x-"}}
        made = await w.json("POST", CONFIG_MAP.path("default"), body)
        name = made["metadata"]["name"]
        assert told == [
            ("a", "admit", "CREATE", ""), ("b", "admit", "CREATE", ""), ("first", "x-", False),
            ("a", "validate", "CREATE", ""), ("b", "validate", "CREATE", ""),
            ("last", name, True),
        ]  # fmt: skip

    simulate(story)


def test_every_road_that_writes_goes_through_it(simulate):
    """Create, PUT, patches, apply, subresources, evictions, deletions one by one and all at once;
    a dry run says that it is one.
    """
    told: list[object] = []

    def note(review) -> None:
        kind = (review.object_kind or review.kind).kind
        told.append((review.operation, review.subresource, kind, review.name, review.dry_run))

    async def story(w):
        seen(w, Plugin("n", note, operations=EVERYTHING, subresources=None))
        at = POD.path("default", "p")
        spec = {"containers": CONTAINERS, "nodeName": "n"}
        pod = {"metadata": {"name": "p"}, "spec": spec}
        await w.json("POST", POD.path("default"), pod, dryRun="All")
        made = await w.json("POST", POD.path("default"), pod)
        await w.json("PUT", at, made)
        await w.json("PATCH", at, {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
        await w.json("PATCH", f"{at}/status", {"status": {"reason": "r"}}, content_type=MERGE)
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"}}
        await w.json("POST", f"{at}/eviction", eviction)
        await w.json("DELETE", at, {"gracePeriodSeconds": 0})
        await w.client.create(CONFIG_MAP, {"metadata": {"name": "m"}}, "default")
        await w.json("DELETE", CONFIG_MAP.path("default"))
        assert told == [
            ("CREATE", "", "Pod", "p", True),
            ("CREATE", "", "Pod", "p", False),
            ("UPDATE", "", "Pod", "p", False),
            ("UPDATE", "", "Pod", "p", False),
            ("UPDATE", "status", "Pod", "p", False),
            ("CREATE", "eviction", "Eviction", "p", False),
            ("DELETE", "", "Pod", "p", False),
            ("CREATE", "", "ConfigMap", "m", False),
            ("DELETE", "", "ConfigMap", "", False),
        ]

    simulate(story)


def test_a_plugin_whose_successors_change_the_object_may_ask_for_a_second_round(simulate):
    """Once, and every plugin that mutates takes part."""
    told: list[str] = []

    def asks(review) -> None:
        told.append("asks")
        review.reinvoke = True

    def other(_review) -> None:
        told.append("other")

    async def story(w):
        seen(w, Plugin("a", asks), Plugin("b", other))
        await w.client.create(CONFIG_MAP, {"metadata": {"name": "m"}}, "default")
        assert told == ["asks", "other", "asks", "other"]

    simulate(story)


def test_a_write_that_lost_a_race_is_admitted_again(simulate):
    """With what is there by then."""
    told: list[object] = []
    at = CONFIG_MAP.path("default", "m")

    async def story(w):
        await w.client.create(CONFIG_MAP, {"metadata": {"name": "m"}}, "default")
        raced = [False]

        async def interfere(review) -> None:
            told.append(review.old["metadata"].get("labels"))
            if not raced[0]:
                raced[0] = True
                await w.json(
                    "PATCH", at, {"metadata": {"labels": {"by": "other"}}}, content_type=MERGE
                )

        seen(w, Plugin("a", interfere, operations=("UPDATE",)))
        await w.json("PATCH", at, {"data": {"k": "v"}}, content_type=MERGE)
        assert told == [None, None, {"by": "other"}]

    simulate(story)


@pytest.mark.parametrize(
    ("enabled", "disabled", "why"),
    [
        (("Nonsense",), (), 'enable-admission-plugins plugin "Nonsense" is unknown'),
        ((), ("Nonsense",), 'disable-admission-plugins plugin "Nonsense" is unknown'),
        ((), ("CertificateSigning",), 'plugin "CertificateSigning": not modelled without it'),
        (("Priority",), ("Priority",), "Priority in both enable-admission-plugins and"),
    ],
)
def test_plugins_are_switched_by_name(enabled, disabled, why):
    """As by kube-apiserver's flags, which refuse what they do not know."""
    with pytest.raises(ValueError, match=why):
        Chain(PLUGINS, enabled, disabled)
    assert [p.name for p in Chain(PLUGINS, (), ("Priority",)).plugins if p.name == "Priority"] == []


def test_a_refusal_of_either_phase_leaves_nothing_behind(simulate):
    """No object, no allocated address."""

    def refuse(_review) -> None:
        raise ApiError("Forbidden", "no")

    async def story(w):
        for plugin in (Plugin("a", refuse), Plugin("b", None, refuse)):
            seen(w, plugin)
            service = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}
            error = await w.refused(w.client.create(kinds.SERVICE, service, "default"))
            assert error.message == "no"
            assert w.server.caches.of(kinds.SERVICE).get("default", "s") is None

    simulate(story)


def test_a_plugin_that_looks_at_objects_is_not_called_while_there_are_none(simulate):
    """It is as soon as there is one, in whichever namespace, and no longer when the last went."""
    told: list[str] = []
    quota = kinds.named("v1", "ResourceQuota")
    seldom = Plugin("s", lambda review: told.append(review.name), moot_without=quota)

    async def story(w):
        seen(w, seldom)
        await w.config_map("a")
        await w.client.create(quota, {"metadata": {"name": "q"}}, "kube-system")
        await w.config_map("b")
        await w.client.delete(quota, "q", "kube-system")
        await w.config_map("c")
        assert told == ["b"]

    simulate(story)


def test_only_kinds_whose_coming_and_going_is_counted_make_a_plugin_moot():
    """Else nobody would notice that there is something to say."""
    assert {p.moot_without for p in PLUGINS} - {None} <= ADMISSION_READS
