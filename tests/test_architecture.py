"""The rules of the house, checked: see the invariants in README."""

import ast
import re
import subprocess
import sys

import pytest

import harness
from harness import schema
from harness.analyze.slis import SLIS
from harness.cli import docs
from harness.model.slis import SLI_NAMES
from tests.conftest import CATALOG, ROOT

ALLOWED = {
    "scenarios", "faults", "harness", "reports", "fixtures", "tests", "pyproject.toml", "README.md",
    "Makefile", "LICENSE", "CHANGELOG.md",
}  # fmt: skip
CODE = ("harness", "faults", "reports", "fixtures")
VAGUE = ("utils", "helpers", "common", "base", "manager")


def tracked():
    out = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    return [name for name in out.split("\0") if name and (ROOT / name).exists()]


def modules():
    return [ROOT / n for n in tracked() if n.endswith(".py") and n.split("/")[0] in CODE]


def test_the_top_level_is_exactly_the_agreed_one():
    top = {name.split("/")[0] for name in tracked()}
    assert {name for name in top if not name.startswith(".")} == ALLOWED


def test_imports_point_the_right_way():
    done = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as m; m()",
         "--no-cache"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [["mypy"], ["ruff", "check", "."], ["ruff", "format", "--check", "."]],
    ids=lambda c: " ".join(c),
)
def test_types_and_style(command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]


def test_modules_and_functions_stay_small():
    for path in modules():
        text = path.read_text("utf-8")
        assert len(text.splitlines()) <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}:{node.lineno} {node.name}"


def test_every_module_says_what_it_is():
    for path in modules():
        assert ast.get_docstring(ast.parse(path.read_text("utf-8"))), path


def test_no_vague_names():
    for path in modules():
        assert not set(re.split(r"[_.]", path.stem)) & set(VAGUE), path


def test_the_stack_under_test_knows_nothing_of_chaos():
    words = re.compile(r"\b(chaos|inject\w*|faults?|sabotage|harness\.\w+)\b", re.IGNORECASE)
    for path in (p for p in modules() if "fixtures/serving" in p.as_posix()):
        found = words.findall(path.read_text("utf-8"))
        assert not found, f"{path}: {found}"


def test_the_front_door_is_sorted_and_every_name_opens():
    assert list(harness.__all__) == sorted(harness.__all__) == sorted(harness._HOME_OF)
    for name in harness.__all__:
        assert getattr(harness, name) is not None


def test_the_vocabulary_of_indicators_is_the_one_that_is_measured():
    assert tuple(SLIS) == SLI_NAMES


def test_the_fault_catalogue_is_current():
    assert (ROOT / "faults" / "README.md").read_text("utf-8") == docs.faults(CATALOG)


def test_the_scenario_schema_is_current():
    assert (ROOT / "scenarios" / "schema.json").read_text("utf-8") == docs.scenario_schema(CATALOG)


def test_every_setting_of_every_plug_in_is_documented():
    for folder, load in ((CATALOG.faults, CATALOG.fault), (CATALOG.stacks, CATALOG.stack)):
        for name in folder.names():
            for key, _, words in schema.rows(load(name)):
                assert words, f"{name}.{key}"
