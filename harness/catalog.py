"""Finding plug-ins: look in the folder, load the one that is named, refuse surprises.

A decorator only marks a class; nothing is registered as a side effect of import. A catalogue lists
names without importing anything and loads a plug-in when it is asked for, because loading every
fault and stack to check one scenario would be slow. It is a value, so two catalogues can live side
by side in one test.
"""

import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeVar, get_type_hints

from harness.protocols import Fault, Report, Stack

F = TypeVar("F", bound=Fault[Any])
S = TypeVar("S", bound=Stack)
R = TypeVar("R", bound=Callable[..., str])
_MARK = "__gameday__"
SEVERITIES = 5


class CatalogError(Exception):
    """A plug-in file is missing or breaks a rule; the message names the file and the rule."""


def fault(cls: type[F]) -> type[F]:
    """Mark a class as the fault of this file."""
    setattr(cls, _MARK, "fault")
    return cls


def stack(cls: type[S]) -> type[S]:
    """Mark a class as the stack of this file."""
    setattr(cls, _MARK, "stack")
    return cls


def report(*, suffix: str) -> Callable[[R], R]:
    """Mark a function as the report of this file; ``suffix`` is that of its files, like ``.md``."""

    def mark(function: R) -> R:
        setattr(function, _MARK, "report")
        function.suffix = suffix  # type: ignore[attr-defined]
        return function

    return mark


@dataclass(frozen=True)
class Folder:
    """The plug-ins of one kind: files of one package, by name. Files that start with ``_`` are
    not plug-ins.
    """

    package: str
    kind: str

    def names(self) -> tuple[str, ...]:
        """Every plug-in there is, sorted, without importing one."""
        spec = importlib.util.find_spec(self.package)
        places = list(spec.submodule_search_locations or ()) if spec else []
        found = (m.name for m in pkgutil.iter_modules(places) if not m.ispkg)
        return tuple(sorted(name for name in found if not name.startswith("_")))

    def load(self, name: str) -> Any:
        """Import one plug-in. Raises ``CatalogError`` if there is none, or it breaks a rule."""
        if name not in self.names():
            there_is = ", ".join(self.names()) or "none"
            raise CatalogError(f"no {self.kind} called {name!r}; there is {there_is}")
        return _only(importlib.import_module(f"{self.package}.{name}"), self.kind)

    def source(self, name: str) -> str:
        """The path of a plug-in's file."""
        spec = importlib.util.find_spec(f"{self.package}.{name}")
        return (spec.origin or "") if spec else ""


@dataclass(frozen=True)
class Catalog:
    """Everything there is to choose from."""

    faults: Folder = Folder("faults", "fault")
    stacks: Folder = Folder("fixtures.stacks", "stack")
    reports: Folder = Folder("reports", "report")

    def fault(self, name: str) -> type[Fault[Any]]:
        """Load one fault."""
        cls: type[Fault[Any]] = self.faults.load(name)
        if len(cls.severities) != SEVERITIES:
            raise CatalogError(f"fault {name!r} publishes {len(cls.severities)} severities, not 5")
        return cls

    def stack(self, name: str) -> type[Stack]:
        """Load one stack."""
        cls: type[Stack] = self.stacks.load(name)
        return cls

    def report(self, name: str) -> Report:
        """Load one report."""
        function: Report = self.reports.load(name)
        return function

    def fits(self, fault: str, stack: str) -> bool:
        """Say whether this stack offers what this fault needs."""
        return issubclass(self.stack(stack), capability(self.fault(fault)))

    def load_faults(self, names: Iterable[str]) -> Mapping[str, type[Fault[Any]]]:
        """Load several faults at once."""
        return {name: self.fault(name) for name in names}


def capability(cls: type[Fault[Any]]) -> type[Any]:
    """Read the capability a fault needs off the type of its ``target``."""
    needed: type[Any] = get_type_hints(cls.inject)["target"]
    return needed


def story(cls: type[Fault[Any]]) -> str:
    """Return the incident a fault stands for: the docstring of its file."""
    return inspect.getdoc(inspect.getmodule(cls)) or ""


def _only(module: ModuleType, kind: str) -> Any:
    marked = [
        value
        for value in vars(module).values()
        if getattr(value, _MARK, None) == kind and value.__module__ == module.__name__
    ]
    if len(marked) != 1:
        raise CatalogError(f"{module.__file__}: expected exactly one @{kind}, found {len(marked)}")
    if not inspect.getdoc(module) or not inspect.getdoc(marked[0]):
        raise CatalogError(
            f"{module.__file__}: a {kind} needs a module docstring and its own docstring"
        )
    return marked[0]
