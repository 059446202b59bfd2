"""What a notebook shows of an objective and of a report, and what it needs for it."""

import subprocess
import sys

import maspo_dsl
from maspo_dsl.verification.report import Line, Report


def test_an_objective_shows_formula_parameters_and_picture():
    html = maspo_dsl.load("maspo")._repr_html_()
    for words in ("begin{aligned}", "how fast it widens as old falls", "<svg", "old = 0.01"):
        assert words in html
    assert maspo_dsl.load("maspo")._repr_latex_().startswith("$$\n\\begin{aligned}")


def test_what_has_no_curve_says_so(request):
    html = maspo_dsl.load(request.config.rootpath / "tests/verify/specs/pairs.obj")._repr_html_()
    assert "no policy term" in html and "<svg" not in html


def test_a_report_is_a_table():
    lines = (Line("causal", "fail", "a < b", 0.1), Line("padding", "pass", "", 0.1))
    html = Report("mine", "0", "eager", lines)._repr_html_()
    assert "1 of 2 properties fail" in html and "a &lt; b" in html


def test_matplotlib_and_torch_are_not_imported_before():
    code = (
        "import sys, maspo_dsl; o = maspo_dsl.load('maspo'); o.graph; "
        "assert not {'matplotlib', 'torch'} & sys.modules.keys(); "
        "o._repr_html_(); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
