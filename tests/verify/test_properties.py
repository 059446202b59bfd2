"""Every objective has every property: what `maspo-dsl verify` holds a user's spec to, of all that ships.

Eagerly; compiled, it is asked by `make full` of all, and by `.ci/run` of some.
"""

import io
import re

import pytest
from hypothesis import HealthCheck, assume, given, settings

import maspo_dsl
from maspo_dsl.analysis.spec_lints import spec_findings
from maspo_dsl.verification.subject import Subject

from ..graph.generated import specs
from .catalogue import BY_NAME, DECLARED, MICRO, SPECS, line, subject

EAGER = [name for name in BY_NAME if not name.startswith("compiled")]
OF_ANY_TEXT = [
    "passes",
    "emitted, float64",
    "rows",
    "groups",
    "padding",
    "packed",
    "masked tokens",
    "nothing to train",
]
"""What holds whatever a text says, be it sensible or not."""


OF_A_POLICY_TERM = ("on policy", "no signal")
"""What says nothing of an objective without one."""


def expected(name: str, prop: str) -> str:
    if prop in OF_A_POLICY_TERM and "policy_loss" not in subject(name).graph.outputs:
        return "skipped"
    return "declared" if name in DECLARED.get(prop, ()) else "pass"


@pytest.mark.parametrize("name", SPECS)
def test_every_property(name):
    found = {prop: line(subject(name), prop) for prop in EAGER}
    other = [prop for prop in EAGER if found[prop].verdict != expected(name, prop)]
    assert not other, "; ".join(f"{prop}: {found[prop].verdict}, {found[prop].detail}" for prop in other)


@settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
@given(text=specs())
def test_property_of_generated_specs(text):
    one = Subject(maspo_dsl.load(io.StringIO(text)), "eager")
    for prop in OF_ANY_TEXT:
        found = line(one, prop)
        assume("nothing is tested" not in found.detail)
        assert found.verdict == "pass", f"{prop}: {found.detail}\n{text}"


def test_a_micro_scope_is_found_in_those_and_no_others():
    """What is found is a warning, unless the spec allows it."""
    findings = {name: spec_findings(maspo_dsl.load(name).resolved) for name in maspo_dsl.shipped()}
    codes = {name: {finding.code for finding in found} for name, found in findings.items()}
    assert {name for name in codes if "micro-scope" in codes[name]} == MICRO & {*codes}
    text = re.sub("^allow .*\n", "", maspo_dsl.load("bnpo").source_text, flags=re.MULTILINE)
    (warning,) = maspo_dsl.load(io.StringIO(text)).warnings
    assert warning.code == "micro-scope"
