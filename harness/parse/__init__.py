"""Text to values: scenarios and SLOs. Pure: text in, a value or a good error out."""

from harness.parse.document import ParseError
from harness.parse.scenario import scenario
from harness.parse.slo import slo

__all__ = ("ParseError", "scenario", "slo")
