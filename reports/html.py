"""The page a person opens: one file, no script, nothing to load.

It must say the same in a browser, in a mail, on paper and in a build server that blocks scripts, so
every picture is inline SVG with a table beside it, the style sheet is inline, and the page's own
content policy forbids everything else. Whoever finds a hostile label in it finds text.
"""

import base64
import hashlib
import re
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from harness import Analysis, Verdict, report
from reports import _words
from reports._page import page
from reports._study_page import study_page
from reports._svg.axis import mark_number
from reports._tables import CAVEAT, ETHICS

if TYPE_CHECKING:
    from jinja2 import Environment

_FOLDER: Final = "_html"
_UNIT: Final = re.compile(r"(?<=\d) (?=(?:%|m?s)(?!\w))")  # a number and its unit stay together


@report(suffix=".html")
def html(analysis: Analysis) -> str:
    """Lay the analysis out as one self-contained HTML file."""
    style = _read("style.css")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    several = analysis.ablation is not None or analysis.sweep is not None
    template = _environment().get_template("study.html.j2" if several else "page.html.j2")
    worked_out = study_page(analysis) if several else page(analysis)
    return template.render(page=worked_out, style=style, style_hash=f"sha256-{digest}") + "\n"


def _read(name: str) -> str:
    return resources.files("reports").joinpath(_FOLDER, name).read_text("utf-8")


def _environment() -> "Environment":
    """jinja2, strict: an unknown name is an error, and every text is cleaned, then escaped."""
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: Any) -> Any:
        return _UNIT.sub("\u00a0", _words.clean(value)) if type(value) is str else value

    environment = Environment(
        loader=FunctionLoader(_read),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=finalize,
    )
    environment.filters.update(
        {
            "word": lambda verdict: _words.WORD[verdict],
            "estimate": _words.spell_estimate,
            "interval": _words.spell_interval,
            "took": _words.spell_length,
            "value": _words.spell_value,
            "plain": _words.plain_number,
            "durations": _words.durations,
            "headline": _words.headline,
            "mark_number": mark_number,
            "mark_word": lambda mark: _words.MARK_WORD[mark.id],
            "drawing": Markup,
        }
    )
    environment.globals.update({"MARK_MEANS": _words.MARK_MEANS, "Verdict": Verdict})
    environment.globals |= {"MARK_WORD": _words.MARK_WORD, "CAVEAT": CAVEAT, "ETHICS": ETHICS}
    return environment
