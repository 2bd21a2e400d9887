"""A rule's statements with other addresses and chains in them: cheaper than reading them anew."""

from __future__ import annotations

from dataclasses import replace

from podwire.dataplane.nft.elements import Element, Members, members
from podwire.dataplane.nft.expr import Anonymous, Constant, Container, Expr, Operand
from podwire.dataplane.nft.nat import Nat
from podwire.dataplane.nft.stmt import Give, Match, Stmt, VMap
from podwire.dataplane.nft.types import Value

Words = dict[str, str]
"""What stands instead of what."""


def respell(stmts: tuple[Stmt, ...], words: Words) -> tuple[Stmt, ...]:
    """The statements of a rule that differs by these words only."""
    return tuple([_stmt(stmt, words) for stmt in stmts])


def _stmt(stmt: Stmt, words: Words) -> Stmt:
    if isinstance(stmt, Match):
        return Match(stmt.left, stmt.operator, _right(stmt.right, words), stmt.mask)
    if isinstance(stmt, Give):
        return Give(stmt.kind, words.get(stmt.chain, stmt.chain), stmt.words)
    if isinstance(stmt, Nat):
        address = _given(stmt.address, words) if stmt.address is not None else None
        return Nat(stmt.kind, stmt.family, address, stmt.port, stmt.flags)
    if isinstance(stmt, VMap):
        return VMap(stmt.key, _container(stmt.container, words))
    return stmt


def _right(operand: Operand, words: Words) -> Operand:
    if isinstance(operand, Constant):
        return _given(operand, words)
    return _container(operand, words) if isinstance(operand, Anonymous) else operand


def _given(expr: Expr, words: Words) -> Expr:
    if isinstance(expr, Constant):
        return Constant(expr.kinds, _value(expr.value, words))
    return expr


def _container(container: Container, words: Words) -> Container:
    if not isinstance(container, Anonymous):
        return container
    return replace(container, members=_members(container.members, words))


def _members(held: Members, words: Words) -> Members:
    return members(
        held.kinds,
        [Element(_value(e.key, words), _data(e.data, words), *e[2:]) for e in held],
    )


def _data(data: Value, words: Words) -> Value:
    return (
        tuple([_value(part, words) for part in data])
        if isinstance(data, tuple)
        else _value(data, words)
    )


def _value(value: Value, words: Words) -> Value:
    if isinstance(value, str):
        return words.get(value, value)
    if isinstance(value, tuple):
        return tuple([_value(part, words) for part in value])
    return value
