"""Kubernetes ``Status`` errors as an exception and as JSON.

Source: apimachinery pkg/api/errors and meta/v1 (reasons, codes, message forms).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CODES = {
    "BadRequest": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "MethodNotAllowed": 405,
    "NotAcceptable": 406,
    "AlreadyExists": 409,
    "Conflict": 409,
    "Gone": 410,
    "Expired": 410,
    "RequestEntityTooLarge": 413,
    "UnsupportedMediaType": 415,
    "Invalid": 422,
    "TooManyRequests": 429,
    "InternalError": 500,
    "ServiceUnavailable": 503,
    "Timeout": 504,
}


@dataclass(frozen=True, slots=True)
class Cause:
    """One ``details.causes[]`` entry: a field error."""

    reason: str
    message: str
    field: str = ""


@dataclass(eq=False)
class ApiError(Exception):
    """An answer that is not success. ``reason`` decides ``code`` unless given."""

    reason: str
    message: str
    code: int = 0
    details: dict[str, Any] = field(default_factory=dict)
    causes: tuple[Cause, ...] = ()

    def __post_init__(self) -> None:
        super().__init__(self.message)
        self.code = self.code or CODES[self.reason]

    def status(self) -> dict[str, Any]:
        """The ``v1 Status`` object that clients receive."""
        details: dict[str, Any] = dict(self.details)
        if self.causes:
            details["causes"] = [
                {
                    "reason": c.reason,
                    "message": c.message,
                    **({"field": c.field} if c.field else {}),
                }
                for c in self.causes
            ]
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if details or self.reason == "Invalid":  # without them kubectl hides the message
            body["details"] = details
        return body


def from_status(code: int, body: dict[str, Any]) -> ApiError:
    """The exception for a Status object that a server sent."""
    details = dict(body.get("details") or {})
    causes = tuple(
        Cause(c.get("reason", ""), c.get("message", ""), c.get("field", ""))
        for c in details.pop("causes", None) or ()
    )
    reason = body.get("reason") or "InternalError"
    return ApiError(reason, body.get("message", ""), body.get("code") or code, details, causes)
