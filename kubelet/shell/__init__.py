"""The mini-shell of modelled containers: lexer, parser, executor, and one file per tool.

Enough of POSIX sh for what people type into ``kubectl exec`` and what test suites run there.
Bounded in steps and output; what is not modelled says so.
"""
