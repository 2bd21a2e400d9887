"""The concurrent histories over real HTTPS, where clients hang up in the middle of a watch."""

import random

import aiohttp

from podwire.client.counters import Frame, Response
from tests.histories.workload import Plan, Workload


class Https:
    """Counter 1 for a client of another program."""

    def __init__(self, session):
        self.session = session

    async def send(self, request):
        watching = ("watch", "true") in request.query
        answer = await self.session.request(
            request.method, request.path, params=request.query, headers=request.headers,
            data=request.body or None,
        )  # fmt: skip
        if watching and answer.status == 200:
            return Response(200, stream=self.frames(answer))
        async with answer:
            return Response(answer.status, await answer.read(), dict(answer.headers))

    async def frames(self, answer):
        try:
            async for line in answer.content:
                yield Frame(line)
        except aiohttp.ClientError as error:
            raise ConnectionResetError(str(error)) from error
        finally:
            answer.close()  # hangs up: the rest of the stream is lost on its way


async def test_over_https_with_dropped_connections(site):
    """Ten writers, ten watchers that hang up after some twenty events and resume."""
    async with site.admin() as session:
        chance = random.Random()  # noqa: S311  a workload, no secret
        workload = Workload(Https(session), Plan(operations=1000, names=12), chance)
        assert await workload.round() == []
