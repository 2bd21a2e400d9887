"""awk (POSIX, with what gawk, mawk and busybox agree on): lexer, parser, values, machine.

The parser makes closures over a ``Machine`` (``machine.py``); ``kubelet/shell/tools/awk.py`` is the
command. A program is bounded in size, depth and steps: it runs without letting others run.
"""
