"""Files of nft: commands line by line, and whole tables in braces.

Lines that programs write by the thousand (rules, elements, chains) are taken by one expression
each; everything else goes through the grammar. The result does not depend on what a kernel holds,
so a text is parsed once, however many nodes load it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from podwire.dataplane.nft import parse_rule
from podwire.dataplane.nft.model import FAMILIES, MODELLED
from podwire.dataplane.nft.ops import ChainBody, ElementsBody, Op, RuleBody
from podwire.dataplane.nft.parse_block import (
    braces,
    chain_body,
    object_body,
    set_body,
    table_block,
)
from podwire.dataplane.nft.text import MAX_TEXT_BYTES, NftError, Words, unexpected

VERBS = ("add", "create", "insert", "replace", "delete", "destroy", "flush", "reset", "list",
         "rename")  # fmt: skip
KEEP_TEXTS = 64
_NAME = r"([A-Za-z_.][\w./\\-]*)"
_LINE = re.compile(
    rf"([a-z]+) (chain|rule|element) ({'|'.join(MODELLED)}) {_NAME} {_NAME}(?: ([^$#\n]*))?$",
    re.MULTILINE,
)
"""A line that stands for itself: no variable, no remark."""
_CHAIN_VERBS = ("add", "flush", "delete", "destroy", "create")
_ELEMENT_VERBS = ("add", "delete", "create", "destroy")
_BARE = ChainBody()
_PLACED = ("handle ", "position ", "index ")


@lru_cache(maxsize=KEEP_TEXTS)
def parse(text: str) -> tuple[Op, ...]:
    """The steps of a file. Raises NftError."""
    if len(text) > MAX_TEXT_BYTES:
        raise NftError(f"file of {len(text)} bytes; {MAX_TEXT_BYTES} are taken")
    return tuple(_Parser(text).run())


def _plain(body: str) -> bool:
    """Whether a rule stands on its line whole and alone."""
    return not (
        ";" in body
        or "\\" in body
        or body.startswith(_PLACED)
        or body.count("{") != body.count("}")
    )


def _braced(body: str) -> bool:
    """Whether elements stand on their line whole and alone."""
    return (
        body[0] == "{"
        and body.rstrip()[-1] == "}"
        and body.count("{") == 1
        and body.count("}") == 1
        and ";" not in body
        and "\\" not in body
    )


class _Parser:
    """Reads one file."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.ops: list[Op] = []
        self.words = Words(text)
        self._head = ""
        """How the latest line of a common form began: verb, object, family, table, name."""
        self._place: tuple[str, ...] = ()

    def run(self) -> list[Op]:
        """All of its steps."""
        text, at = self.text, 0
        while at < len(text):
            done = self._quick(at)
            if done:
                at = done
                continue
            words = self.words = self._fresh(at)
            words.skip_lines()
            if words.peek().kind == "end":
                break
            self._command()
            if not words.ended() or words.peek().text == "}":
                raise unexpected(words.peek())
            at = words.next().end
        return self.ops

    def _fresh(self, at: int) -> Words:
        words = Words(self.text, at)
        words.defines = self.words.defines
        return words

    def _quick(self, at: int) -> int:
        """Take a line of a common form; where the next begins, or 0."""
        text, head = self.text, self._head
        if head and text.startswith(head, at):  # programs write many lines to one place
            start = at + len(head)
            stop = text.find("\n", start)
            stop = len(text) if stop < 0 else stop
            body = text[start:stop]
            if not body or "$" in body or "#" in body:
                return 0
            return self._line(body, at, stop)
        line = _LINE.match(text, at)
        if line is None:
            return 0
        self._place = line.group(1, 2, 3, 4, 5)
        stop, body = line.end(), line[6]
        if not body or not body.strip():
            self._head = ""
            return self._bare_chain(at, stop)
        self._head = text[at : line.start(6)]
        return self._line(body, at, stop)

    def _line(self, body: str, at: int, stop: int) -> int:
        """A line that says something after its ``head``."""
        verb, what, family, table, name = self._place
        put: object
        if what == "rule" and verb == "add" and _plain(body):
            try:
                put = RuleBody(parse_rule.rule_of(body, family))
            except NftError:
                return 0  # the grammar says where it is wrong
        elif what == "element" and verb in _ELEMENT_VERBS and _braced(body):
            put = ElementsBody(body, stop - len(body))
        else:
            return 0
        end = at + len(self._head) - 1
        self.ops.append(
            Op(verb, what, family, table, name, put, (end - len(name), end), (at, stop))
        )
        return stop + 1

    def _bare_chain(self, at: int, stop: int) -> int:
        """A chain that is named and no more; often it is made and then emptied."""
        verb, what, family, table, name = self._place
        if what != "chain" or verb not in _CHAIN_VERBS:
            return 0
        end = at + len(verb) + len(what) + len(family) + len(table) + len(name) + 4
        self.ops.append(
            Op(verb, what, family, table, name, _BARE, (end - len(name), end), (at, stop))
        )
        flush = f"flush chain {family} {table} {name}\n"
        if verb != "add" or not self.text.startswith(flush, stop + 1):
            return stop + 1
        at, stop = stop + 1, stop + len(flush)
        spot = (stop - len(name), stop)
        self.ops.append(Op("flush", what, family, table, name, _BARE, spot, (at, stop)))
        return stop + 1

    # ------------------------------------------------------------ one command

    def _command(self) -> None:
        words = self.words
        first = words.peek()
        if words.take("define", "redefine"):
            self._define()
            return
        if first.text in {"include", "undefine"}:
            raise NftError(f"not modelled: {first.text}", first.start, first.end)
        verb = words.next().text if first.text in VERBS else "add"
        what = words.next()
        if what.text == "ruleset":
            family = self._family("")
            self._op(verb, "ruleset", family, "", "", None, first.start, (what.start, what.end))
            return
        if what.text == "table":
            self._table(verb, first.start)
            return
        if what.text in _PLURALS and verb in {"list", "reset"}:
            self._plural(verb, what.text, first.start)
            return
        if what.text not in _OBJECTS:
            if first.text in VERBS and what.kind == "word" and verb in {"add", "insert"}:
                self._implied_rule(verb, first.start, what.start)
                return
            raise unexpected(words.peek() if verb == "add" and first is what else what,
                             "expecting string" if first is what else "")  # fmt: skip
        self._object(verb, what.text, first.start)

    def _define(self) -> None:
        words = self.words
        name = words.next().text
        words.want("=")
        value, depth = [], 0
        while depth or words.peek().kind not in {"newline", "end"}:
            token = words.next()
            if token.kind == "end":
                raise unexpected(token)
            if token.kind != "newline":
                value.append(token)
            depth += (token.text == "{") - (token.text == "}")
        words.defines[name] = value

    def _family(self, default: str = "ip") -> str:
        found = self.words.take(*FAMILIES)
        return found.text if found is not None else default

    def _op(
        self, verb: str, what: str, family: str, table: str, name: str, body: object, start: int,
        spot: tuple[int, int],
    ) -> None:  # fmt: skip
        whole = (start, self.words.last.end)
        self.ops.append(Op(verb, what, family, table, name, body, spot, whole))

    def _table(self, verb: str, start: int) -> None:
        words = self.words
        family = self._family()
        if words.take("handle"):
            number = words.number()
            spot = (words.last.start, words.last.end)
            self._op(verb, "table", family, "", "", number, start, spot)
            return
        name = words.name()
        spot = (name.start, name.end)
        if words.peek().text == "{" and verb in {"add", "create"}:
            table_block(words, self.ops, verb, family, name, start)
            return
        self._op(verb, "table", family, name.value, name.value, None, start, spot)

    def _plural(self, verb: str, what: str, start: int) -> None:
        words = self.words
        family = self._family("")
        table = ""
        if words.take("table"):
            family = self._family()
            table = words.name().value
        self._op(verb, what, family, table, "", None, start, (start, words.last.end))

    def _implied_rule(self, verb: str, start: int, back: int) -> None:
        """``add ip t c accept``: the word ``rule`` may be left out."""
        self.words = self._fresh(back)
        self._rule(verb, start)

    def _object(self, verb: str, what: str, start: int) -> None:
        words = self.words
        if what == "rule":
            self._rule(verb, start)
            return
        family = self._family()
        table = words.name().value
        if words.take("handle"):
            number = words.number()
            self._op(verb, what, family, table, "", number, start,
                     (words.last.start, words.last.end))  # fmt: skip
            return
        name = words.name()
        spot = (name.start, name.end)
        body: object = None
        held: ElementsBody | None = None
        if what == "chain":
            body = self._chain(verb)
        elif what in {"set", "map"} and words.peek().text == "{":
            body, held = set_body(words, what, family, name.value)
        elif what == "element":
            body = self._braces()
        elif what in {"counter", "quota", "limit"} and not words.ended():
            body = object_body(words, what)
        self._op(verb, what, family, table, name.value, body, start, spot)
        if held is not None:
            self._op("add", "element", family, table, name.value, held, start, spot)

    def _chain(self, verb: str) -> ChainBody | str:
        words = self.words
        if verb == "rename":
            return words.name().value
        if words.peek().text == "{":
            words.next()
            found = chain_body(words)
            words.want("}")
            return found
        return ChainBody()

    def _braces(self) -> ElementsBody:
        words = self.words
        token = words.peek()
        if token.text != "{":
            raise unexpected(token)
        return braces(words)

    def _rule(self, verb: str, start: int) -> None:
        words = self.words
        family = self._family()
        table = words.name().value
        chain = words.name()
        at: tuple[str, int] | None = None
        spot = (chain.start, chain.end)
        found = words.take("handle", "position", "index")
        if found is not None:
            at = ("index" if found.text == "index" else "handle", words.number())
            start_of = words.last.start if verb in {"delete", "destroy"} else found.start
            spot = (start_of, words.last.end)
        elif verb in {"delete", "destroy"}:
            raise unexpected(words.peek(), "expecting handle")
        rule = None
        if verb in {"add", "insert", "create", "replace"}:
            rule = parse_rule.parse(words, family)
        self._op(verb, "rule", family, table, chain.value, RuleBody(rule, at), start, spot)


_OBJECTS = ("chain", "rule", "set", "map", "element", "counter", "quota", "limit", "flowtable")
_PLURALS = ("tables", "chains", "sets", "maps", "counters", "quotas", "limits")
