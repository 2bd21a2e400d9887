"""Calling hooks: those that mutate one after the other, those that validate all at once.

Source: apiserver pkg/admission/plugin/webhook/{mutating,validating}/dispatcher.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

import msgspec

from podwire.api.patch import PatchError
from podwire.api.status import ApiError, Cause
from podwire.api.view import JSON
from podwire.apiserver import calls
from podwire.apiserver.admission.chain import Plugin
from podwire.apiserver.admission.policies.inputs import inputs
from podwire.apiserver.admission.review import Review, Round
from podwire.apiserver.admission.webhooks import hooks, reviews
from podwire.apiserver.admission.webhooks.counted import Counted
from podwire.apiserver.admission.webhooks.hooks import MUTATING, VALIDATING, Hook, Hooks, Match
from podwire.apiserver.admission.webhooks.reviews import Answer, Question, ReviewError
from podwire.apiserver.webhookclient import CallError, WebhookClient, target_of
from podwire.runtime.tasks import Nursery

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

REQUEST_TIMEOUT_S = 34.0
"""No write takes longer, however many hooks it has."""
_NAME = "MutatingAdmissionWebhook"
_MUTATES, _VALIDATES = "admit", "validating"
"""The two types as metrics name them."""
_EVERY = ("CREATE", "UPDATE", "DELETE", "CONNECT")


class _FailedError(Exception):
    """A hook could not be asked. ``code`` is told in metrics."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code


class Webhooks:
    """The webhooks of one API server."""

    def __init__(self, server: Apiserver) -> None:
        self._server = server
        self.client = WebhookClient(server)
        self.counted = Counted()
        self._mutating = Hooks(MUTATING)
        self._validating = Hooks(VALIDATING)

    def mutate(self, review: Review) -> Awaitable[None] | None:
        """The mutating plugin's step."""
        found = self._mutating.all(self._server)
        return self._mutate(review, found) if found and not hooks.exempt(review) else None

    def validate(self, review: Review) -> Awaitable[None] | None:
        """The validating plugin's step."""
        found = self._validating.all(self._server)
        return self._validate(review, found) if found and not hooks.exempt(review) else None

    def asks_nobody(self, review: Review) -> bool:
        """Whether no hook's rules name such a write: ``Plugin.repeats``."""
        every = (*self._mutating.all(self._server), *self._validating.all(self._server))
        return not any(hooks.names(review, hook) for hook in every)

    # ------------------------------------------------------------ mutating

    async def _mutate(self, review: Review, found: Sequence[Hook]) -> None:
        """Ask one after the other; each sees what those before it made. Raises ApiError."""
        memory: Round = review.memory.setdefault(_NAME, Round())
        if review.reinvoking and memory.output != msgspec.json.encode(review.obj):
            memory.require_all()
        question = Question(review)
        deadline = asyncio.get_running_loop().time() + REQUEST_TIMEOUT_S
        for index, hook in enumerate(found):
            match = _matched(question, hook)
            if match is None or (review.reinvoking and hook.uid not in memory.again):
                continue
            left_s = deadline - asyncio.get_running_loop().time()
            answer = await self._asked(question, match, _MUTATES, index, left_s)
            changed = answer is not None and self._apply(question, match, answer, index)
            if changed:
                memory.require_all()
                review.reinvoke = True
            if hook.body.get("reinvocationPolicy") == "IfNeeded":
                memory.reinvocable.append(hook.uid)
        if review.reinvoke or memory.reinvocable:
            memory.output = msgspec.json.encode(review.obj)

    def _apply(self, question: Question, match: Match, answer: Answer, index: int) -> bool:
        """Take over a hook's patch; whether that changed anything. Raises ApiError."""
        review, hook = question.review, match.hook
        made: JSON | None = None
        if answer.patch:
            shown, _ = question.objects(match.kind)
            if shown is None:
                what = f'admission webhook "{hook.name}" attempted to modify the object'
                raise _internal(f"{what}, which is not supported for this operation")
            try:
                made = reviews.patched(review, match.kind, shown, answer.patch)
            except (PatchError, ApiError) as error:
                raise _internal(str(error)) from None
        changed = made is not None and made != review.obj
        which = {"configuration": hook.configuration, "webhook": hook.name}
        at = f"round_{int(review.reinvoking)}_index_{index}"
        told = msgspec.json.encode({**which, "mutated": changed}).decode()
        review.annotate(f"mutation.webhook.admission.k8s.io/{at}", told)
        if made is None:
            return False
        patch = {**which, "patch": answer.patch, "patchType": "JSONPatch"}
        review.annotate(f"patch.webhook.admission.k8s.io/{at}", msgspec.json.encode(patch).decode())
        if changed:
            review.obj = made
            question.forget()
        return changed

    # ------------------------------------------------------------ validating

    async def _validate(self, review: Review, found: Sequence[Hook]) -> None:
        """Ask all at once; of several refusals the first in order counts. Raises ApiError."""
        question = Question(review)
        matches = [m for hook in found if (m := _matched(question, hook)) is not None]
        if len(matches) == 1:
            await self._asked(question, matches[0], _VALIDATES, 0, REQUEST_TIMEOUT_S)
            return
        refusals: dict[int, ApiError] = {}

        async def ask(index: int, match: Match) -> None:
            try:
                await self._asked(question, match, _VALIDATES, index, REQUEST_TIMEOUT_S)
            except ApiError as error:
                refusals[index] = error

        async with Nursery() as nursery:
            for index, match in enumerate(matches):
                nursery.start(ask(index, match), name=f"webhook {match.hook.name}")
        if refusals:
            raise refusals[min(refusals)]

    # ------------------------------------------------------------ one hook

    async def _asked(
        self, question: Question, match: Match, type: str, index: int, left_s: float
    ) -> Answer | None:
        """The answer of a hook that allows; None of one that failed and may. Raises ApiError."""
        review, hook = question.review, match.hook
        clock, counted = self._server.world.clock, self.counted
        began_ns = clock.monotonic_ns()
        error, code, rejected = "", 200, False
        try:
            answer = await self._call(question, match, type, left_s)
            _tell(review, hook, answer)
            if not answer.allowed:
                raise _denied(hook, answer.result)
        except _FailedError as failure:
            code, rejected = failure.code, not hook.ignores_failures
            error = "calling_webhook_error"
            self._server.world.log.warning("failed calling webhook", error=str(failure))
            if rejected:
                raise _internal(str(failure)) from None
            counted.failed_open(hook.name, type)
            review.annotate(_opened(review, type, index), hook.name)
            if left_s <= 0:
                message = "Timeout: request did not complete within requested timeout"
                raise ApiError("Timeout", message) from None
            return None
        except ApiError as refusal:
            error, code, rejected = "no_error", refusal.code, True
            raise
        else:
            return answer
        finally:
            took_s = (clock.monotonic_ns() - began_ns) / 1e9
            if rejected:
                counted.rejected(hook.name, type, review.operation, error, code)
            counted.called(
                hook.name, type, review.operation, rejected=rejected, code=code, took_s=took_s
            )

    async def _call(self, question: Question, match: Match, type: str, left_s: float) -> Answer:
        """Raises _FailedError; ApiError for a dry run that the hook cannot do."""
        review, hook = question.review, match.hook
        if review.dry_run and hook.body.get("sideEffects") not in {"None", "NoneOnDryRun"}:
            message = f'admission webhook "{hook.name}" does not support dry run'
            raise ApiError("BadRequest", message)
        start = f'failed calling webhook "{hook.name}"'
        try:
            version = reviews.version_of(hook.body.get("admissionReviewVersions") or ())
        except ReviewError as error:
            raise _FailedError(
                f"{start}: could not create admission objects: {error}", 400
            ) from None
        uid = self._server.world.ids.uid()
        body = question.body(match, version, uid)
        timeout_s = min(hook.body.get("timeoutSeconds") or 10, left_s)
        try:
            target = target_of(hook.body.get("clientConfig") or {})
        except CallError as error:
            raise _FailedError(f"{start}: could not get REST client: {error}", 500) from None
        try:
            raw = await self.client.post(target, body, max(timeout_s, 0.0))
        except CallError as error:
            raise _FailedError(f"{start}: failed to call webhook: {error}", 503) from None
        try:
            return reviews.read(raw, version, uid, mutating=type == _MUTATES)
        except ReviewError as error:
            why = f"{start}: received invalid webhook response: {error}"
            raise _FailedError(why, 503) from None


def _matched(question: Question, hook: Hook) -> Match | None:
    """Whether a write concerns a hook, its matchConditions included. Raises ApiError."""
    review = question.review
    match = hooks.match(review, hook)
    if match is None or not hook.body.get("matchConditions"):
        return match
    met, wrong = hook.conditions.match(inputs(question, match.kind, conditions=True))
    if wrong:
        raise calls.forbidden(review.kind, review.name, wrong)
    return match if met else None


def _tell(review: Review, hook: Hook, answer: Answer) -> None:
    for key, value in answer.annotations.items():
        review.annotate(f"{hook.name}/{key}", value)
    for text in answer.warnings:
        review.warn(text)


def _opened(review: Review, type: str, index: int) -> str:
    word = "mutation" if type == _MUTATES else "validating"
    number = int(review.reinvoking)
    return f"failed-open.{word}.webhook.admission.k8s.io/round_{number}_index_{index}"


def _internal(why: str) -> ApiError:
    return ApiError("InternalError", f"Internal error occurred: {why}", causes=(Cause("", why),))


def _denied(hook: Hook, result: JSON) -> ApiError:
    """The hook's own Status, with words before its message. Source: webhook/errors."""
    code, reason = result.get("code") or 0, result.get("reason") or ""
    said = result.get("message") or reason
    start = f'admission webhook "{hook.name}" denied the request'
    message = f"{start}: {said}" if said else f"{start} without explanation"
    code = code if isinstance(code, int) and 400 <= code < 600 else 400
    details = result.get("details")
    return ApiError(reason, message, code, dict(details) if isinstance(details, dict) else {})


def _mutate(review: Review) -> Awaitable[None] | None:
    return review.server.webhooks.mutate(review)


def _validate(review: Review) -> Awaitable[None] | None:
    return review.server.webhooks.validate(review)


def _asks_nobody(review: Review) -> bool:
    return review.server.webhooks.asks_nobody(review)


MUTATE = Plugin(
    _NAME,
    admit=_mutate,
    operations=_EVERY,
    subresources=None,
    moot_without=MUTATING,
    repeats=_asks_nobody,
)
VALIDATE = Plugin(
    "ValidatingAdmissionWebhook",
    validate=_validate,
    operations=_EVERY,
    subresources=None,
    moot_without=VALIDATING,
    repeats=_asks_nobody,
)
