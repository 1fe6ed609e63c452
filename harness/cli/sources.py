"""From a path on the command line to a checked scenario with its SLO."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import parse, schema
from harness.catalog import Catalog
from harness.cli.errors import Usage
from harness.model.plan import Plan, Topology
from harness.model.scenario import Scenario
from harness.model.slo import Slo
from harness.parse.document import MAX_BYTES, ParseError, document, shown, too_big
from harness.plan import PHASE_SPREAD_S, PlanError, plan, refuse_unjudgeable
from harness.protocols import Stack

SLO_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
SHIPPED = Path(__file__).resolve().parents[2] / "scenarios"


@dataclass(frozen=True)
class Source:
    """One scenario, read and checked."""

    path: Path
    scenario: Scenario
    slo: Slo
    slo_text: str
    catalog: Catalog

    def stack(self) -> Stack:
        """Make its stack, not yet up."""
        cls = self.catalog.stack(self.scenario.stack)
        return schema.build(cls, self.scenario.stack_params)

    def spread_s(self) -> float:
        """Over how long the injection phase is drawn: scrapes and evaluations fall on a grid that
        wide, so that a narrower draw would always fall on the same side of it.
        """
        return float(getattr(self.stack(), "scrape_interval_s", PHASE_SPREAD_S))

    def with_settings(self, changes: Mapping[str, object]) -> "Source":
        """The same scenario on a stack with other settings. Raises ``ParamError``."""
        params = {**self.scenario.stack_params, **changes}
        schema.build(self.catalog.stack(self.scenario.stack), params)
        scenario = dataclasses.replace(self.scenario, stack_params=params)
        return dataclasses.replace(self, scenario=scenario)

    def check(self) -> None:
        """Refuse phases too short for what is to be judged, without rolling any dice."""
        try:
            refuse_unjudgeable(self.scenario, self.slo, self.spread_s())
        except ValueError as wrong:
            raise ParseError(str(self.path), self._line(wrong), str(wrong)) from None

    def plan(self, topology: Topology, seed: int | None = None) -> Plan:
        """Roll its dice. A plan that cannot be judged is an error of the file."""
        try:
            return plan(self.scenario, self.slo, topology, seed=seed, spread_s=self.spread_s())
        except ValueError as wrong:
            raise ParseError(str(self.path), self._line(wrong), str(wrong)) from None

    def _line(self, wrong: ValueError) -> int:
        """The line of what asks for too much; the first where no one place does."""
        found = document(self.scenario.text, str(self.path))
        for step in wrong.path if isinstance(wrong, PlanError) else ():
            found = found.value[step]
        return max(1, found.line)


def paths(given: Iterable[str]) -> list[Path]:
    """Resolve files and folders; a folder means every scenario below it. Raises ``Usage``."""
    found: list[Path] = []
    for name in given:
        path = Path(name)
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*.yaml") if "slos" not in p.parts)
            if not inside:
                raise Usage(f"{name}: no scenario (*.yaml) in this folder")
            found += inside
        elif not path.exists() and (shipped := SHIPPED / f"{name}.yaml").is_file():
            found.append(shipped)
        else:
            found.append(path)
    return found


def read(
    path: Path,
    catalog: Catalog,
    *,
    stack: str | None = None,
    settings: Iterable[str] = (),
    text: str | None = None,
) -> Source:
    """Read one scenario and the SLO it names. ``text``: instead of the file's. Raises
    ``ParseError``.
    """
    text = text_of(path) if text is None else text
    scenario = parse.scenario(text, catalog, source=str(path), stack=stack)
    slo_path = _slo_path(path, scenario.slo, text)
    slo_text = text_of(slo_path)
    slo = parse.slo(slo_text, name=scenario.slo, source=str(slo_path))
    source = Source(path, scenario, slo, slo_text, catalog)
    changes = settings_of(settings)
    try:
        return source.with_settings(changes) if changes else source
    except schema.ParamError as wrong:
        raise Usage(f"--set: stack {scenario.stack!r}: {wrong}") from None


def text_of(path: Path) -> str:
    """Read a text file, bounded. Raises ``ParseError`` for one that is not there or not text."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
            size = path.stat().st_size
    except OSError as error:
        raise ParseError(str(path), 1, f"cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise too_big(str(path), size)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise ParseError(
            str(path), 1, "this is not a text file; a scenario is YAML in UTF-8"
        ) from None


def settings_of(given: Iterable[str]) -> Mapping[str, object]:
    """Read ``--set KEY=VALUE`` pairs. Raises ``Usage``."""
    out: dict[str, object] = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise Usage(f"--set {item!r} should be KEY=VALUE")
        if value in ("", "none"):
            out[key] = []
        elif "," in value:
            out[key] = [part for part in value.split(",") if part]
        else:
            out[key] = document(value, f"--set {key}").plain()
    return out


def _slo_path(scenario: Path, name: str, text: str) -> Path:
    line = next((n for n, words in enumerate(text.split("\n"), 1) if words.startswith("slo:")), 1)
    if not SLO_NAME.fullmatch(name):
        words = f"slo: {shown(name)} should be a name, of letters, digits, '_' and '-' alone"
        raise ParseError(str(scenario), line, words)
    file = f"{name}.yaml"
    folder = scenario.resolve().parent
    places = (folder / "slos" / file, folder.parent / "slos" / file, folder / file)
    for place in (*places, SHIPPED / "slos" / file):
        if place.is_file():
            return place
    shipped = ", ".join(sorted(path.stem for path in (SHIPPED / "slos").glob("*.yaml")))
    raise ParseError(
        str(scenario),
        line,
        f"slo: no SLO file called {name!r}; looked for {places[0]} and {places[1]}; shipped: "
        f"{shipped}",
    )
