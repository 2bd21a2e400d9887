"""AlwaysPullImages: who has no right to an image cannot use one that is on a node already.

Source: upstream plugin/pkg/admission/alwayspullimages.
"""

from __future__ import annotations

from collections.abc import Iterator

from podwire.api import kinds
from podwire.api.status import ApiError
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.review import Review

_GROUPS = ("initContainers", "containers", "ephemeralContainers")


def admit(review: Review) -> None:
    """Set imagePullPolicy of every container, unless an update brings no new image."""
    if _new_images(review):
        for _, container in _containers(review.obj):
            container["imagePullPolicy"] = "Always"
        for volume in _image_volumes(review.obj):
            volume["image"]["pullPolicy"] = "Always"


def validate(review: Review) -> None:
    """Whether nobody changed it since. Raises ApiError."""
    if not _new_images(review):
        return
    wrong = [
        (f"spec.{at}.imagePullPolicy", container.get("imagePullPolicy"))
        for at, container in _containers(review.obj)
        if container.get("imagePullPolicy") != "Always"
    ]
    if wrong:
        raise _refusal(review, wrong)


def _refusal(review: Review, wrong: list[tuple[str, str | None]]) -> ApiError:
    listed = [
        calls.forbidden(
            kinds.POD, review.name,
            f'{field}: Unsupported value: "{value or ""}": supported values: "Always"',
        ).message
        for field, value in wrong
    ]  # fmt: skip
    why = listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"
    return ApiError("", why, 500)  # several errors are no Status upstream


def _new_images(review: Review) -> bool:
    if review.old is None:
        return True
    had = {container.get("image") for _, container in _containers(review.old)}
    had |= {volume["image"].get("reference") for volume in _image_volumes(review.old)}
    return any(c.get("image") not in had for _, c in _containers(review.obj)) or any(
        volume["image"].get("reference") not in had for volume in _image_volumes(review.obj)
    )


def _containers(pod: JSON) -> Iterator[tuple[str, JSON]]:
    for group in _GROUPS:
        for index, container in enumerate((pod.get("spec") or {}).get(group) or ()):
            yield f"{group}[{index}]", container


def _image_volumes(pod: JSON) -> list[JSON]:
    return [v for v in (pod.get("spec") or {}).get("volumes") or () if v.get("image")]


PLUGIN = Plugin("AlwaysPullImages", admit, validate, kinds=(kinds.POD,), on=False)
