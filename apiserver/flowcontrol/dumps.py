"""/debug/api_priority_and_fairness: levels, queues and who waits, as text in columns.

Source: apiserver pkg/util/flowcontrol/apf_controller_debug.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from podwire.apiserver import answers
from podwire.apiserver.routes import Route
from podwire.client.counters import Request, Response

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

_PREFIX = "/debug/api_priority_and_fairness"


async def levels(server: Apiserver, _request: Request) -> Response:
    """GET dump_priority_levels."""
    rows = [(
        "PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests",
        "ExecutingRequests", "DispatchedRequests", "RejectedRequests", "TimedoutRequests",
        "CancelledRequests",
    )]  # fmt: skip
    for name, state in sorted(server.flowcontrol.states.items()):
        queues = state.queues
        active = sum(bool(queue.waiting) for queue in queues.queues)
        rows.append((
            name, str(active), _bool(queues.idle), _bool(state.quiescing), str(queues.waiting),
            str(queues.executing), str(queues.dispatched), str(sum(queues.rejected.values())),
            "0", str(queues.cancelled),
        ))  # fmt: skip
    return _table(rows)


async def queues(server: Apiserver, _request: Request) -> Response:
    """GET dump_queues."""
    rows = [(
        "PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse",
        "NextDispatchR", "InitialSeatsSum", "MaxSeatsSum", "TotalWorkSum",
    )]  # fmt: skip
    for name, state in sorted(server.flowcontrol.states.items()):
        for queue in state.queues.queues:
            seats = sum(asked.seats for asked in queue.waiting)
            rows.append((
                name, str(queue.index), str(len(queue.waiting)), str(queue.executing),
                str(queue.seats), f"{queue.next_r:.8f}ss", str(seats), str(seats),
                f"{max(queue.work, 0.0):.8f}ss",
            ))  # fmt: skip
    return _table(rows)


async def requests(server: Apiserver, _request: Request) -> Response:
    """GET dump_requests: those that wait. What upstream tells of each beside that is not kept."""
    rows = [(
        "PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "InitialSeats",
    )]  # fmt: skip
    for name, state in sorted(server.flowcontrol.states.items()):
        for queue in state.queues.queues:
            rows += [
                (name, asked.schema, str(queue.index), str(number), str(asked.seats))
                for number, asked in enumerate(queue.waiting)
            ]
    return _table(rows)


def _bool(value: object) -> str:
    return str(bool(value)).lower()


def _table(rows: Sequence[Sequence[str]]) -> Response:
    widths = [max(len(row[i]) for row in rows) + 2 for i in range(len(rows[0]))]
    widths = [max(width, 8) for width in widths]
    text = "\n".join(
        "".join(f"{cell},".ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
    return answers.text(f"{text}\n")


ROUTES = (
    Route(f"{_PREFIX}/dump_priority_levels", levels),
    Route(f"{_PREFIX}/dump_queues", queues),
    Route(f"{_PREFIX}/dump_requests", requests),
)
