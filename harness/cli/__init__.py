"""The verbs, for people: the only package that knows every part.

Each verb lives in a module of its own, loaded when it is called, so that ``--help`` and ``check``
answer at once.
"""

from harness.cli.arguments import main

__all__ = ("main",)
