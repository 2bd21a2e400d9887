"""The same seed gives the same history; another seed another one."""

from __future__ import annotations

from podwire.api import kinds


def test_the_history_of_writes_is_a_function_of_the_seed(simulate):
    """uids, generated names, addresses and times included."""
    hashes = []

    async def story(w):
        for _ in range(5):
            await w.client.create(kinds.CONFIG_MAP, {"metadata": {"generateName": "a-"}}, "default")
        body = {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}], "type": "NodePort"}}
        await w.client.create(kinds.SERVICE, body, "default")
        await w.env.clock.sleep(100)
        hashes.append(w.env.trace.hash)

    simulate(story, seed=1)
    simulate(story, seed=1)
    simulate(story, seed=2)
    assert hashes[0] == hashes[1] != hashes[2]
