"""The syntax tree of a script."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Lit:
    """Text as written; quoted text is neither split nor globbed."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Var:
    """``$NAME`` or ``${NAME<op><arg>}``; ``op`` "#len" is ``${#NAME}``."""

    name: str
    op: str = ""
    arg: Word = ()
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Sub:
    """``$(...)`` or backticks."""

    body: Node
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Arith:
    """``$((...))``: the expression as a word, expanded before it is evaluated."""

    expression: Word
    quoted: bool = False


Part = Lit | Var | Sub | Arith
Word = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Redirect:
    """``FD OP TARGET``; op is one of > >> < >& <& <<.

    Of ``<<`` the target is the document, a list that the lexer fills when it comes to it.
    """

    fd: int
    op: str
    target: Word | list[Part]


@dataclass(frozen=True, slots=True)
class Simple:
    """Assignments, words and redirections."""

    words: tuple[Word, ...]
    assignments: tuple[tuple[str, Word], ...] = ()
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Commands joined by pipes; ``negated`` by ``!``."""

    commands: tuple[Node, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class AndOr:
    """``first (&& | ||) rest ...``."""

    first: Node
    rest: tuple[tuple[str, Node], ...]


@dataclass(frozen=True, slots=True)
class Sequence:
    """Commands in order; each may run in the background."""

    items: tuple[tuple[Node, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """``{ ...; }`` or, with ``subshell``, ``( ... )``."""

    body: Node
    subshell: bool = False
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True, slots=True)
class If:
    """Conditions with their bodies, and the else branch."""

    branches: tuple[tuple[Node, Node], ...]
    otherwise: Node = field(default_factory=Sequence)


@dataclass(frozen=True, slots=True)
class For:
    """``for NAME [in WORDS]``; None iterates the positional parameters."""

    name: str
    words: tuple[Word, ...] | None
    body: Node


@dataclass(frozen=True, slots=True)
class While:
    """``while`` or (``until``) its opposite."""

    condition: Node
    body: Node
    until: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """``case WORD in PATTERNS) BODY;; ... esac``."""

    word: Word
    arms: tuple[tuple[tuple[Word, ...], Node], ...]


@dataclass(frozen=True, slots=True)
class Function:
    """``NAME() BODY``."""

    name: str
    body: Node


Node = Simple | Pipeline | AndOr | Sequence | Group | If | For | While | Case | Function
