"""Lists: order, selectors, consistent pages, older revisions."""

from __future__ import annotations

import base64

from podwire.api import kinds

CM = kinds.CONFIG_MAP


def names(body) -> list[str]:
    return [item["metadata"]["name"] for item in body["items"]]


def test_a_list_is_in_key_order_and_says_its_revision(simulate):
    """Namespaces first, then names."""

    async def story(w):
        for name, namespace in (("b", "default"), ("a", "kube-system"), ("a", "default")):
            await w.config_map(name, namespace)
        body = await w.json("GET", CM.path())
        assert body["kind"] == "ConfigMapList"
        keys = [(i["metadata"]["namespace"], i["metadata"]["name"]) for i in body["items"]]
        assert keys == [("default", "a"), ("default", "b"), ("kube-system", "a")]
        assert body["metadata"] == {"resourceVersion": str(await w.store.revision())}
        assert names(await w.json("GET", CM.path("kube-system"))) == ["a"]

    simulate(story)


def test_selectors_choose_by_label_and_field(simulate):
    """Both must match."""

    async def story(w):
        await w.config_map("a", labels={"app": "web", "tier": "1"})
        await w.config_map("b", labels={"app": "web"})
        await w.config_map("c")
        path = CM.path("default")
        assert names(await w.json("GET", path, labelSelector="app=web")) == ["a", "b"]
        assert names(await w.json("GET", path, labelSelector="app=web,!tier")) == ["b"]
        field = "metadata.name!=a"
        assert names(await w.json("GET", path, labelSelector="app", fieldSelector=field)) == ["b"]

    simulate(story)


def test_pages_show_one_moment_although_the_world_goes_on(simulate):
    """The continue token carries the revision of the first page."""

    async def story(w):
        for name in "abcde":
            await w.config_map(name)
        path = CM.path("default")
        first = await w.json("GET", path, limit="2")
        assert names(first) == ["a", "b"]
        assert first["metadata"]["remainingItemCount"] == 3
        await w.client.delete(CM, "c", "default")
        await w.config_map("bb")
        token = first["metadata"]["continue"]
        second = await w.json("GET", path, limit="2", continue_=token)
        assert names(second) == ["c", "d"]
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        third = await w.json("GET", path, limit="2", continue_=second["metadata"]["continue"])
        assert names(third) == ["e"]
        assert "continue" not in third["metadata"]

    simulate(story)


def test_a_limit_below_one_is_none(simulate):
    """Upstream pages from one on."""

    async def story(w):
        for name in "abc":
            await w.config_map(name)
        for limit in ("0", "-1"):
            body = await w.json("GET", CM.path("default"), limit=limit)
            assert names(body) == ["a", "b", "c"]
            assert "continue" not in body["metadata"]

    simulate(story)


def test_a_token_that_outlived_history_is_gone_and_offers_an_inconsistent_rest(simulate):
    """410 Expired with a token in the Status' metadata, which works."""

    async def story(w):
        for name in "abc":
            await w.config_map(name)
        path = CM.path("default")
        token = (await w.json("GET", path, limit="1"))["metadata"]["continue"]
        for i in range(1100):
            await w.client.patch(CM, "a", {"data": {"k": str(i)}}, "default")
        await w.store.compact(await w.store.revision())
        gone = await w.json("GET", path, limit="1", continue_=token)
        assert (gone["code"], gone["reason"]) == (410, "Expired")
        await w.config_map("b2")
        rest = await w.json("GET", path, continue_=gone["metadata"]["continue"])
        assert names(rest) == ["b", "b2", "c"]

    simulate(story)


def test_an_exact_revision_shows_the_past(simulate):
    """From the window, and from the store when the window is shorter; 410 when neither has it."""

    async def story(w):
        made = await w.config_map("a")
        then = made.metadata.resource_version
        await w.config_map("b")
        await w.client.delete(CM, "a", "default")
        path = CM.path("default")
        exact = {"resourceVersion": then, "resourceVersionMatch": "Exact"}
        assert names(await w.json("GET", path, **exact)) == ["a"]
        assert names(await w.json("GET", path, resourceVersion=then)) == ["b"]
        for i in range(1100):
            await w.client.patch(CM, "b", {"data": {"k": str(i)}}, "default")
        assert names(await w.json("GET", path, **exact)) == ["a"]
        await w.store.compact(await w.store.revision())
        assert (await w.json("GET", path, **exact))["reason"] == "Expired"

    simulate(story)


def test_events_expire_after_an_hour(simulate):
    """By a lease of the store; everything else stays."""

    async def story(w):
        about = {"kind": "Pod", "name": "a", "namespace": "default"}
        body = {"metadata": {"name": "e"}, "involvedObject": about, "reason": "R"}
        await w.client.create(kinds.EVENT, body, "default")
        await w.env.clock.sleep(3590)
        assert await w.names(kinds.EVENT) == ["e"]
        await w.env.clock.sleep(100)
        assert await w.names(kinds.EVENT) == []
        assert await w.names(kinds.NAMESPACE) == ["default", "kube-system"]

    simulate(story)


def test_a_negative_limit_is_none(simulate):
    """As upstream, where only a positive one makes pages."""

    async def story(w):
        for name in "abc":
            await w.client.create(CM, {"metadata": {"name": name}}, "default")
        listed = await w.json("GET", CM.path("default"), limit="-1")
        assert names(listed) == ["a", "b", "c"]
        assert "continue" not in listed["metadata"]

    simulate(story)


def test_a_token_of_a_revision_that_has_not_happened_is_refused(simulate):
    """It was not made by this server: nothing can be shown as of then."""

    async def story(w):
        body = b'{"v":"meta.k8s.io/v1","rv":999999,"start":"a"}'
        token = base64.urlsafe_b64encode(body).decode()
        answer = await w.raw("GET", CM.path("default"), continue_=token)
        assert answer.status == 400

    simulate(story)
