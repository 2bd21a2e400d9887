"""Create, get, update and patch, told as what a client sees."""

from __future__ import annotations

from podwire.api import kinds
from podwire.client.api import decoder

CM = kinds.CONFIG_MAP


def test_a_created_object_can_be_read_back_with_what_only_the_server_knows(simulate):
    """uid, creationTimestamp and resourceVersion are the server's to give."""

    async def story(w):
        made = await w.config_map("a")
        assert made.metadata.uid
        assert made.metadata.creation_timestamp == "2026-01-01T00:00:00Z"
        assert made == await w.client.get(CM, "a", "default")
        assert int(made.metadata.resource_version) == await w.store.revision()

    simulate(story)


def test_creating_twice_says_already_exists(simulate):
    """The second create is refused with upstream's words."""

    async def story(w):
        await w.config_map("a")
        error = await w.refused(w.config_map("a"))
        assert (error.reason, error.code) == ("AlreadyExists", 409)
        assert error.message == 'configmaps "a" already exists'

    simulate(story)


def test_an_update_with_an_old_revision_conflicts(simulate):
    """Optimistic concurrency: the loser is told to look again."""

    async def story(w):
        await w.config_map("a")
        first = await w.client.get_json(CM, "a", "default")
        second = await w.client.get_json(CM, "a", "default")
        first["data"]["k"] = "first"
        await w.client.update(CM, first)
        second["data"]["k"] = "second"
        error = await w.refused(w.client.update(CM, second))
        assert error.reason == "Conflict"
        assert error.message == (
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
            "please apply your changes to the latest version and try again"
        )
        assert (await w.client.get(CM, "a", "default")).data == {"k": "first"}

    simulate(story)


def test_an_update_that_changes_nothing_writes_nothing(simulate):
    """The revision stays, so no watcher is woken."""

    async def story(w):
        await w.config_map("a")
        body = await w.client.get_json(CM, "a", "default")
        before = await w.store.revision()
        await w.client.update(CM, body)
        assert await w.store.revision() == before

    simulate(story)


def test_generate_name_appends_five_characters(simulate):
    """Two creates of the same prefix get different names."""

    async def story(w):
        body = {"metadata": {"generateName": "web-"}}
        one = await w.client.create(CM, dict(body), "default")
        two = await w.client.create(CM, {"metadata": {"generateName": "web-"}}, "default")
        assert one.metadata.name.startswith("web-")
        assert len(one.metadata.name) == len("web-") + 5
        assert one.metadata.name != two.metadata.name

    simulate(story)


def test_a_missing_object_is_named_in_the_answer(simulate):
    """The Status names resource, group and name."""

    async def story(w):
        error = await w.refused(w.client.get(kinds.DEPLOYMENT, "web", "default"))
        assert error.message == 'deployments.apps "web" not found'
        assert error.details == {"name": "web", "group": "apps", "kind": "deployments"}

    simulate(story)


def test_dry_run_answers_like_a_write_and_writes_nothing(simulate):
    """dryRun=All on create, update, patch and delete leaves the store as it was."""

    async def story(w):
        await w.config_map("a")
        before = await w.store.revision()
        path = CM.path("default", "a")
        body = await w.client.get_json(CM, "a", "default")
        body["data"]["k"] = "changed"
        new = {"metadata": {"name": "b"}}
        assert (await w.raw("POST", CM.path("default"), new, dryRun="All")).status == 201
        assert (await w.raw("PUT", path, body, dryRun="All")).status == 200
        merge = "application/merge-patch+json"
        answer = await w.raw("PATCH", path, {"data": {"k": "p"}}, merge, dryRun="All")
        assert b'"k":"p"' in answer.body
        assert (await w.raw("DELETE", path, dryRun="All")).status == 200
        assert await w.store.revision() == before
        assert (await w.client.get(CM, "a", "default")).data == {"k": "a"}

    simulate(story)


def test_clients_in_this_process_share_the_view_of_what_they_wrote(simulate):
    """It is what the answer's bytes say, made once for all who read the object."""

    async def story(w):
        made = await w.config_map("a", labels={"x": "y"})
        entry = w.server.caches.of(kinds.CONFIG_MAP).get("default", "a")
        assert made is entry.view
        answer = await w.raw("GET", kinds.CONFIG_MAP.path("default", "a"))
        assert answer.view is made
        assert decoder(kinds.CONFIG_MAP.view).decode(answer.body) == made

    simulate(story)
