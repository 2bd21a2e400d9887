"""Requests of every family: none hurts the server, none goes unanswered."""

import os
import sys

from tests.fuzz.door import Door, resident_bytes, still_sound
from tests.fuzz.requests import Requests
from tests.unit.apiserver_http.conftest import TOKEN

COUNT = int(os.environ.get("FUZZ_COUNT") or (100_000 if os.environ.get("PODWIRE_SWEEP") else 1_000))
GROWTH_BYTES = 200 * 2**20
"""Far more than caches of a bounded size take, far less than a leak of 100,000 requests."""


async def test_no_request_hurts(target, seed):
    """Each is answered, none with a 5xx that is not meant; nobody gets in with a spoilt token,
    and no token is logged; what is stored afterwards decodes in every encoding;
    memory comes back to its level.
    """
    token = target.issuer.sign(
        {"sub": "system:serviceaccount:default:default", "aud": [target.issuer.name], "exp": 2**33}
    )
    requests = Requests(seed, token)
    door = Door(target)
    for _ in range(COUNT // 10):
        await door.ask(requests.draw())
    before = resident_bytes()
    for _ in range(COUNT - COUNT // 10):
        await door.ask(requests.draw())
    await door.close()
    figures = f"seed {seed}: {sum(door.said.values())} answers, slowest {door.slowest[0]:.2f} s, "
    figures += f"memory {before >> 20} -> {resident_bytes() >> 20} MiB, {sorted(door.said.items())}"
    sys.stdout.write(figures + "\n")  # seen with -s
    logged = target.told.getvalue()
    assert "Traceback" not in logged, f"FUZZ_SEED={seed}\n" + logged.replace("\\n", "\n")[:20_000]
    assert not door.wrong, f"FUZZ_SEED={seed} {len(door.wrong)}: " + "\n".join(
        str(w)[:700] for w in door.wrong[:40]
    )
    assert not target.complaints
    assert token not in logged
    assert TOKEN not in logged
    await still_sound(target)
    assert resident_bytes() - before < GROWTH_BYTES
