"""A new file in faults/ is tested by existing. Nothing here names a fault."""

import pytest

from harness import schema
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


@pytest.mark.stack
@pytest.mark.parametrize(("fault", "stack"), REAL)
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
