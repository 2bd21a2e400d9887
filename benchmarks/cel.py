"""What CEL rules take: those of the Gateway API and of network policies, on a good object each.

``python -m benchmarks cel``. The objects are those of tests/data/cel/gateway-rules.jsonl.gz.
"""

from __future__ import annotations

import gzip
import json
import statistics
import time
from pathlib import Path
from typing import Any

from podwire.api.cel.checking import compile_rule
from podwire.api.cel.declarations import declare
from podwire.api.cel.environment import PER_CALL_LIMIT, Environment

_RULES = Path(__file__).parents[1] / "tests" / "data" / "cel" / "gateway-rules.jsonl.gz"
_ROUNDS = 200


def rows() -> list[dict[str, Any]]:
    """Every rule with its schema, a good and a bad object."""
    with gzip.open(_RULES, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def cel() -> dict[str, str]:
    """Microseconds of one evaluation and of one compilation."""
    evaluated: list[float] = []
    compiled: list[float] = []
    for row in rows():
        one = declare(row["schema"])
        assert one is not None
        spec = row["schema"]["x-kubernetes-validations"][0]
        began = time.perf_counter()
        program = compile_rule(spec, one).program
        compiled.append((time.perf_counter() - began) * 1e6)
        assert program is not None
        values = [row["good"]["obj"], row["good"]["old"]]
        evaluated.append(_quickest(program.evaluate, values))
    few = [{"name": f"a{number}", "port": {"x": number}} for number in range(16)]
    one = declare({"type": "array", "items": _ITEM})
    assert one is not None
    loop = Environment({"self": one}).compile("self.all(r, r.name != '')")
    ordered = sorted(evaluated)
    return {
        "one rule of Gateway API, median of 102 (<= 10 us)": f"{statistics.median(ordered):.1f} us",
        "the same, 9 of 10 and the slowest": f"{ordered[91]:.1f} us, {ordered[-1]:.1f} us",
        "a rule over 16 entries": f"{_quickest(loop.evaluate, [few]):.1f} us",
        "compiling a rule, median": f"{statistics.median(compiled):.0f} us",
    }


_ITEM = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "port": {"type": "object", "properties": {"x": {"type": "integer"}}},
    },
}


def _quickest(evaluate: Any, values: list[Any]) -> float:
    """Microseconds of one evaluation, the best of several rounds."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(_ROUNDS):
            evaluate(values, PER_CALL_LIMIT)
        best = min(best, (time.perf_counter() - began) / _ROUNDS)
    return best * 1e6
