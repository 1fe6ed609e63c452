"""A new file in faults/ is tested by existing. Nothing here names a fault."""

from typing import get_args

import pytest

from harness import Ablatable, Protects, schema
from harness.catalog import story
from harness.testing import check_fault
from tests.conftest import CATALOG, SCENARIOS

FAULTS = CATALOG.faults.names()
PAIRS = [(f, s) for f in FAULTS for s in CATALOG.stacks.names() if CATALOG.fits(f, s)]
VIRTUAL = [(f, s) for f, s in PAIRS if CATALOG.stack(s).virtual_time]
REAL = [(f, s) for f, s in PAIRS if not CATALOG.stack(s).virtual_time]


@pytest.mark.parametrize(("fault", "stack"), VIRTUAL)
def test_breaks_and_heals(fault, stack):
    check_fault(fault, stack, CATALOG)


def real(fault, stack):
    """The first that fits a stack is proven at once, the others by ``make test-slow``."""
    first = next(f for f, s in REAL if s == stack)
    heavy = stack == "local" and fault != first
    return pytest.param(fault, stack, marks=[pytest.mark.slow] if heavy else [])


@pytest.mark.stack
@pytest.mark.parametrize(("fault", "stack"), [real(*pair) for pair in REAL])
def test_breaks_and_heals_for_real(fault, stack):
    check_fault(fault, stack, CATALOG)


@pytest.mark.parametrize("fault", FAULTS)
def test_fits_a_stack_on_virtual_time_and_a_real_one(fault):
    assert any(f == fault for f, _ in VIRTUAL)
    assert any(f == fault for f, _ in REAL)


@pytest.mark.parametrize("fault", FAULTS)
def test_some_scenario_uses_it(fault):
    assert any(f"- {fault}:" in path.read_text("utf-8") for path in SCENARIOS)


@pytest.mark.parametrize("fault", FAULTS)
def test_all_five_severities_are_buildable_and_differ(fault):
    cls = CATALOG.fault(fault)
    assert len({schema.build(cls, params) for params in cls.severities}) == 5


@pytest.mark.parametrize("fault", FAULTS)
def test_its_schema_is_drawn_and_its_story_told(fault):
    assert schema.json_schema(CATALOG.fault(fault))["additionalProperties"] is False
    assert len(story(CATALOG.fault(fault)).split()) > 20


@pytest.mark.parametrize("fault", FAULTS)
def test_it_declares_two_defences_that_every_stack_it_fits_can_be_without(fault):
    defences = CATALOG.fault(fault).defences
    names = [defence.name for defence in defences]
    assert len(names) >= 2 and len(set(names)) == len(names)
    stacks = [CATALOG.stack(s) for f, s in PAIRS if f == fault]
    stacks = [stack for stack in stacks if issubclass(stack, Ablatable)]
    assert {stack.virtual_time for stack in stacks} == {True, False}
    for stack in stacks:
        whole = stack()
        assert set(names) <= set(whole.switches())
        for name in names:
            changes = whole.without([name])
            lacking = schema.build(stack, changes)
            assert changes and not lacking.without([name]), "it lacks it now"
        assert whole.without(names).keys() == {k for n in names for k in whole.without([n])}
    assert all(defence.protects in get_args(Protects) and defence.why for defence in defences)


ABLATABLE = [s for s in CATALOG.stacks.names() if issubclass(CATALOG.stack(s), Ablatable)]


@pytest.mark.parametrize("stack", ABLATABLE)
def test_a_stack_refuses_to_be_without_what_it_does_not_know(stack):
    with pytest.raises(ValueError, match="no defence 'luck'.*alert TargetDown"):
        CATALOG.stack(stack)().without(["luck"])
