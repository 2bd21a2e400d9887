"""What a server remembers of creates: counts bodies of a form, learns moulds, casts objects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from podwire.api.codec import JSON_TYPE
from podwire.api.status import ApiError
from podwire.apiserver import objects, storage
from podwire.apiserver.admission.review import Review
from podwire.apiserver.authorization.node import node_of
from podwire.apiserver.calls import Call
from podwire.apiserver.moulds import text
from podwire.apiserver.moulds.free import FREE, fits, places_of
from podwire.apiserver.moulds.text import Gapped, Place
from podwire.apiserver.registry import create, meta

if TYPE_CHECKING:
    from podwire.apiserver.server import Apiserver

LEARN_AFTER = 16
"""How many bodies of a form go the long way before its mould is learned, which costs as much as
ten of them; a form waits twice as long each time, but for each object that came out of a mould
one body less.
"""
_PATIENCE = 1024
_FORMS = 1024
_MOULDS = 4
"""Of one form: owners' order may differ, or a string that is not free."""
_MOST_LEARNED, _MOST_BYTES = 32 * 1024, 128 * 1024
"""How long a body is at most. What validation measures (annotations in all) has more room."""
_BUDGET = 1 << 20
"""How many bytes of bodies there are moulds of before all are forgotten."""
_QUERY = ("fieldManager", "fieldValidation")


class Cast(NamedTuple):
    """An object out of a mould, in its stored form."""

    name: str
    value: bytes
    generated: bool
    """Whether its name was made up."""


class _Mould:
    """See the package."""

    __slots__ = (
        "annotations", "checks", "draws", "generated", "match", "name", "order", "tells", "value",
    )  # fmt: skip

    def __init__(
        self, body: bytes, places: Sequence[Place], made: _Made, value: Gapped, name: Gapped
    ) -> None:
        self.match = text.pattern(body, places).fullmatch
        self.checks = text.checks(places)
        self.value, self.name = value.filler(), name.filler()
        self.draws, self.generated, self.annotations = made.draws, made.generated, made.annotations
        self.tells: list[tuple[int, Callable[[str], Any], Any]] = []
        for i, place in enumerate(places):
            if (tells := place.free.tells) is not None:
                self.tells.append((i, tells, tells(body[place.start : place.end].decode())))
        numbers = text.numbers(body, places)
        keys = [i for i, place in enumerate(places) if place.group]
        keys.sort(key=lambda i: (str(places[i].group), numbers[i]))
        self.order = [(i, j) for i, j in pairwise(keys) if places[i].group == places[j].group]
        """Pairs of keys of which the first must sort before the second."""

    def cast(self, body: bytes, source: meta.Source) -> Cast | None:
        """What it makes of a body, if it is of its form."""
        matched = self.match(body)
        if matched is None:
            return None
        values = matched.groups()
        for joined, fit in self.checks:
            if fit(joined(values)) is None:
                return None
        for i, tells, told in self.tells:
            if tells(values[i].decode()) != told:
                return None
        for i, j in self.order:
            if values[i] >= values[j]:
                return None
        now = source.now().encode()
        drawn = [(source.suffix() if d else source.uid()).encode() for d in self.draws]
        values = (*values, now, *drawn)
        return Cast(self.name(values).decode(), self.value(values), self.generated)


class _Form:
    """Bodies that look alike at a glance."""

    __slots__ = ("moulds", "seen", "wanted")

    def __init__(self) -> None:
        self.moulds: list[_Mould] = []
        """The one that matched last is the first."""
        self.seen = 0
        self.wanted = LEARN_AFTER


class _Made(NamedTuple):
    """What ``create`` makes of a body."""

    name: str
    value: bytes
    generated: bool
    annotations: dict[str, str]
    draws: tuple[bool, ...]
    """What was drawn from the source, in order: whether it was a suffix."""


class _Marks(meta.Source):
    """A source of marks instead of chance and time."""

    def __init__(self, round: int) -> None:
        self._round = round
        self.present = f"{2030 + round}-02-03T04:05:06Z"
        self.draws: list[bool] = []

    def uid(self) -> str:
        """A mark as long as a uid."""
        return self.mark(False)

    def suffix(self) -> str:
        """A mark as long as a suffix."""
        return self.mark(True)

    def now(self) -> str:
        """The mark of the present."""
        return self.present

    def mark(self, suffix: bool) -> str:
        """The next one."""
        self.draws.append(suffix)
        return self.of(len(self.draws) - 1, suffix)

    def of(self, number: int, suffix: bool) -> str:
        """One of them."""
        short = f"{'xv'[self._round]}{number:03}k"
        return short if suffix else f"{short}-0000-4000-8000-{number:015}"


class Moulds:
    """The moulds of one server."""

    def __init__(self, server: Apiserver) -> None:
        self._server = server
        self._forms: dict[Any, _Form] = {}
        self._stamp: Any = None
        self._held = 0

    def cast(self, call: Call) -> Cast | None:
        """The object that a body stands for, if there is a mould for it."""
        body, source = call.request.body, self._server.source
        if call.kind not in FREE or len(body) > _MOST_BYTES:
            return None
        form = self._forms.get(self._key(call))
        if form is None or not form.moulds or not self._server.caches.decided:
            return None
        if not self._usable(call):
            return None
        for i, mould in enumerate(form.moulds):
            found = mould.cast(body, source)
            if found is not None:
                call.annotations.update(mould.annotations)
                if form.wanted > LEARN_AFTER:
                    form.wanted -= 1  # it was not in vain
                if i:
                    form.moulds.insert(0, form.moulds.pop(i))
                return found
        return None

    def repeated(self, call: Call) -> bool:
        """Note a body that went the long way; whether it is time to learn of it."""
        if call.kind not in FREE or call.warnings or not self._usable(call):
            return False
        if call.content_type != JSON_TYPE or len(call.request.body) > _MOST_LEARNED:
            return False
        key = self._key(call)
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _FORMS:
                self._forms.clear()
                self._held = 0
            form = self._forms[key] = _Form()
        form.seen += 1
        if form.seen < form.wanted:
            return False
        form.seen, form.wanted = 0, min(2 * form.wanted, _PATIENCE)
        return True

    @staticmethod
    def _key(call: Call) -> Any:
        """What bodies of one form have in common: free strings hold no quotes."""
        request = call.request
        headers = request.headers
        return (
            request.path, request.query, headers.get("user-agent"), headers.get("content-type"),
            request.body.count(b'"'), node_of(call.user) is None,
        )  # fmt: skip

    def _usable(self, call: Call) -> bool:
        """Break what was learned before something changed that decides; whether a call may
        have to do with moulds.
        """
        server = self._server
        stamp = (server.caches.decisions, server.authenticator.accounts)
        if stamp != self._stamp:
            self._stamp = stamp
            self._held = 0
            for form in self._forms.values():
                form.moulds.clear()
        return call.verb == "create"

    # ------------------------------------------------------------ learning

    async def learn(self, call: Call) -> None:
        """Make a mould of a call's body, if it can be done."""
        body = call.request.body
        if not text.is_plain(body) or b"managedFields" in body:
            return
        if any(name not in _QUERY for name, _ in call.request.query):
            return
        places = places_of(call.kind, body)
        if not places or not self._repeats(call):
            return
        try:
            mould = await self._learned(call, places)
        except Exception:  # the object is stored: its client is not told of this
            self._server.world.log.exception("mould not learned", path=call.request.path)
            return
        if mould is not None:
            self._hold(len(body))
            moulds = self._forms.setdefault(self._key(call), _Form()).moulds
            moulds.insert(0, mould)
            del moulds[_MOULDS:]

    def _repeats(self, call: Call) -> bool:
        """Whether all plugins do the same each time: before any is asked about marks."""
        obj = objects.decode(call, call.kind)
        name = obj["metadata"].get("name", "")
        review = Review(self._server, call, call.kind, "CREATE", call.namespace, name, obj)
        return self._server.admission.repeats(review)

    def _hold(self, size: int) -> None:
        """Have room for another mould; a pattern weighs about eight times its text."""
        self._held += size
        if self._held > _BUDGET:
            self._forms.clear()
            self._held = size

    async def _learned(self, call: Call, places: list[Place]) -> _Mould | None:
        body = call.request.body
        there = [body[place.start : place.end] for place in places]
        marked = await self._marked(call, places, there, 0)
        if marked is None or marked != await self._marked(call, places, there, 1):
            return None
        made, value, name = marked
        expected = await self._made(call, body, _Marks(0))
        if expected is None or {*range(len(there))} - {*value.gaps}:
            return None
        mould = _Mould(body, places, made, value, name)
        cast = mould.cast(body, _Marks(0))
        return mould if cast == expected[:3] else None

    async def _marked(
        self, call: Call, places: list[Place], there: list[bytes], round: int
    ) -> tuple[_Made, Gapped, Gapped] | None:
        """What is made of the body with marks of a round, parted at them."""
        numbers = text.numbers(call.request.body, places)
        marks = [
            place.free.mark(round, number, was.decode()).encode()
            for place, number, was in zip(places, numbers, there, strict=True)
        ]
        source = _Marks(round)
        made = await self._made(call, text.filled(call.request.body, places, marks), source)
        if made is None:
            return None
        known = {mark: i for i, mark in enumerate(marks)}
        known[source.present.encode()] = len(marks)
        for i, suffix in enumerate(made.draws):
            known[source.of(i, suffix).encode()] = len(marks) + 1 + i
        value, name = text.parted(made.value, known), text.parted(made.name.encode(), known)
        if any(text.parted(note.encode(), known).gaps for note in made.annotations.values()):
            return None
        return made._replace(name="", value=b""), value, name

    async def _made(self, call: Call, body: bytes, source: _Marks) -> _Made | None:
        """What ``create`` makes of a body, None if another one might be treated otherwise."""
        request = replace(call.request, body=body)
        call = replace(call, request=request, warnings=[], annotations={})
        server, kind = self._server, call.kind
        try:
            obj = objects.decode(call, kind)
            made = await create.prepare(server, call, obj, source, dry_run=False)
        except ApiError:
            return None
        obj = made.review.obj
        if call.warnings or not fits(kind, obj) or not server.admission.repeats(made.review):
            return None
        return _Made(
            obj["metadata"]["name"], storage.encode(kind, obj), made.generated, call.annotations,
            tuple(source.draws),
        )  # fmt: skip
