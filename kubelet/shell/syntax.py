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
    """``$NAME`` or ``${NAME<op><arg>}``; ``op`` "#len" is ``${#NAME}``.

    Bash's: "keys" is ``${!NAME[@]}``, ``indirect`` ``${!NAME}``, "slice"
    ``${NAME:OFFSET:LENGTH}``; "/" and its like have what to put (``put``), and ``index`` is what
    stands in brackets.
    """

    name: str
    op: str = ""
    arg: Word = ()
    quoted: bool = False
    put: Word = ()
    index: Word | None = None
    indirect: bool = False


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


@dataclass(frozen=True, slots=True)
class Process:
    """``<(...)``: the name of a file that holds what the commands print."""

    body: Node
    quoted: bool = False


Part = Lit | Var | Sub | Arith | Process
Word = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Redirect:
    """``FD OP TARGET``; op is one of > >> < >& <& << <<<.

    Of ``<<`` the target is the document, a list that the lexer fills when it comes to it.
    """

    fd: int
    op: str
    target: Word | list[Part]


@dataclass(frozen=True, slots=True)
class Assign:
    """``NAME=VALUE``; bash's ``NAME+=``, ``NAME[INDEX]=`` and ``NAME=(ELEMENTS)``."""

    name: str
    value: Word = ()
    index: Word | None = None
    append: bool = False
    elements: tuple[Word, ...] | None = None


@dataclass(frozen=True, slots=True)
class Simple:
    """Assignments, words and redirections; ``after``: the arrays that a declaration fills."""

    words: tuple[Word, ...]
    assignments: tuple[Assign, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    after: tuple[Assign, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Condition:
    """``[[ ... ]]``: ``op`` is && || ! or an operator of test, "" a word that is not empty."""

    op: str
    words: tuple[Word, ...] = ()
    parts: tuple[Condition, ...] = ()


@dataclass(frozen=True, slots=True)
class ArithCommand:
    """``((...))``: 0 when its value is not 0."""

    expression: Word


@dataclass(frozen=True, slots=True)
class Counting:
    """``for ((FIRST; WHILE; EACH)) BODY``."""

    first: Word
    condition: Word
    each: Word
    body: Node


@dataclass(frozen=True, slots=True)
class Timed:
    """Bash's ``time PIPELINE``."""

    body: Node


Node = (
    Simple | Pipeline | AndOr | Sequence | Group | If | For | While | Case | Function
    | Condition | ArithCommand | Counting | Timed
)  # fmt: skip
