"""docs/objectives.md says what ships: `python -m tests.test_docs_objectives` writes its middle anew from the specs.

So it does with the list in the README.
"""

import re
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

import maspo_dsl
from maspo_dsl.analysis.coupling import coupling
from maspo_dsl.analysis.weight_curves import weight_curves
from maspo_dsl.language.expression_text import format_domain, format_expression
from maspo_dsl.notation.degenerate import degenerate_advantages
from maspo_dsl.notation.latex_lines import latex_formula, latex_lines
from maspo_dsl.pictures.style import figure_bytes
from maspo_dsl.pictures.weights import small_figure
from maspo_dsl.semantics.binding import BoundParameter

from .loading import objective
from .test_docs_tables import code, table

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "images" / "objectives"
PAGES = {"docs": ROOT / "docs" / "objectives.md", "README": ROOT / "README.md"}

FAMILIES = {
    "The sum and its normalisers": "group_ppo grpo bnpo dr_grpo dapo",
    "Bounds on the ratio": (
        "ppo_dual_clip two_sided_clip cispo cispo_two_sided dcpo dcpo_paper bapo bapo_paper aspo ce_gppo ripo"
    ),
    "Soft gates": "maspo maspo_paper maspo_dapo sapo dgpo pspo soft_exponential cfpo",
    "The ratio of whole completions": "gspo gspo_token gmpo luspo vespo topr ctpo",
    "Divergence instead of a bound": ("dppo_tv dppo_tv_paper dppo_kl dppo_kl_paper grpo_opsm dro"),
    "Which tokens push": "stapo stapo_v1 stapo_maspo top_entropy clip_cov kl_cov entropy_advantage fipo",
    "Advantages": (
        "ppo rloo grpo_leave_one_out opo remax grpo_passk gpg gpg_paper reinforce_plus_plus "
        "reinforce_plus_plus_baseline max_rl gdpo lite_ppo nsr qae vapo grpo_lead passk_training spo "
        "gigpo optimal_token_baseline gfpo rae asymre"
    ),
    "What the sampler does otherwise": (
        "tis tis_geometric tis_product mis mis_geometric mis_product rejection rejection_geometric "
        "rejection_product vcpo decoupled_ppo flash_reinforce m2po"
    ),
    "Which prompts are sampled": "goldilocks stapo_goldilocks",
    "Teachers and experts": "opd mopd luffy chord",
    "Log-ratios fitted to rewards": "gvpo a2po oapl dvo flowrl target_po real",
    "Recipes of trainers and reports": "prime_default deepseek_v32 olmo3 magistral scale_rl molt",
}

PARTS = re.compile(r"(<!-- made from the specs: (\w+) -->\n).*?(?=\n<!-- end -->)", re.DOTALL)


def in_order() -> list[str]:
    return [name for names in FAMILIES.values() for name in names.split()]


def rewritten(page: str) -> str:
    """The page with what stands between its marks made anew."""
    made = {"contents": contents, "sections": sections, "families": families}
    return PARTS.sub(lambda match: f"{match[1]}\n{made[match[2]]()}\n", page)


def families() -> str:
    """The table of the README: names that lead to their sections."""
    return table(
        "family, objectives",
        [
            (family, " ".join(f"[`{name}`](docs/objectives.md#{name})" for name in names.split()))
            for family, names in FAMILIES.items()
        ],
    ).rstrip()


def sections() -> str:
    parts = []
    for family, names in FAMILIES.items():
        parts += [f"## {family}", *(section(name) for name in names.split())]
    return "\n\n".join(parts)


def contents() -> str:
    rows = []
    for family, names in FAMILIES.items():
        rows.append((f"**{family}**", "", "", ""))
        for name in names.split():
            resolved = objective(name).resolved
            base = resolved.lineage[-1] if resolved.lineage else ""
            rows.append((f"[`{name}`](#{name})", resolved.doc, code(base) if base else "", reads(name)))
    return table("objective, what it is, extends, reads", rows).rstrip()


def reads(name: str) -> str:
    reach = coupling(objective(name).graph).reach
    return reach.word


def section(name: str) -> str:
    resolved = objective(name).resolved
    parts = [f"### {name}", f"{resolved.doc}. {origin(name)}", f"```obj shipped\n{spec_lines(name)}```"]
    parts += [f"```math\n{formula(name)}\n```", parameters(name), picture(name), *notes(name)]
    return "\n\n".join(part for part in parts if part)


def origin(name: str) -> str:
    sources = "; ".join(linked(source) for source in objective(name).resolved.sources)
    return f"From {sources}."


def linked(text: str) -> str:
    return re.sub(r"arXiv:(\d{4}\.\d{5})", r"[arXiv:\1](https://arxiv.org/abs/\1)", text)


def spec_lines(name: str) -> str:
    """The file without its meaning, its sources, and what others do."""
    head, *rest = objective(name).source_text.splitlines(keepends=True)
    told = re.compile(r'^(source|differs) +"|^"')
    return head + "".join(line for line in rest if not told.match(line))


def formula(name: str) -> str:
    written = latex_formula(objective(name).resolved)
    lines = tuple(line for line in written.lines if line.text != r"\text{the task's reward}")
    return "\n".join(latex_lines(replace(written, lines=lines)))


@cache
def has_picture(name: str) -> bool:
    """Whether a ratio weighs the gradient."""
    found = objective(name)
    return not weight_curves(found.resolved, found.graph).why


def picture(name: str) -> str:
    if not has_picture(name):
        return ""
    return f"![Gradient weight of {name} over the ratio](images/objectives/{name}.svg)"


def drawn(name: str) -> bytes:
    found = objective(name)
    curves = weight_curves(found.resolved, found.graph)
    mark = f"<!-- {found.hash} --></svg>".encode()
    return figure_bytes(small_figure(curves), "svg").replace(b"</svg>", mark)


def parameters(name: str) -> str:
    resolved = objective(name).resolved
    rows = [
        (code(bound.name), default(bound), interval(bound), linked(bound.declared.doc or ""))
        for bound in resolved.parameters.values()
        if bound.name in resolved.read
    ]
    return table("parameter, default, in, meaning", rows).rstrip() if rows else "It has no parameters."


def default(bound: BoundParameter) -> str:
    written = format_expression(bound.declared.default)
    bind = bound.declared.bind
    return f"{written}; in a run, its `{bind.text}`" if bind is not None else written


def interval(bound: BoundParameter) -> str:
    domain = bound.declared.domain
    return code(format_domain(domain)) if domain is not None else ""


def notes(name: str) -> list[str]:
    """Degenerate groups, what others do, and the warnings that the spec lives with."""
    resolved = objective(name).resolved
    degenerate = "; ".join(text for _, text in degenerate_advantages(objective(name)))
    degenerate = degenerate or "what a degenerate group gets depends on more than its rewards"
    told = [f"- {who(other)}" for other in resolved.differs]
    others = "\n".join(["Elsewhere:", "", *told]) if told else ""
    codes = objective(name).acknowledged
    given = [f"`{c}`: {allow.why}." for c, allow in resolved.flat.allows.items() if c in codes]
    warnings = f"It lives with the warning {' and '.join(given)}" if given else ""
    return [f"{degenerate[0].upper()}{degenerate[1:]}.", others, warnings]


def who(text: str) -> str:
    name, _, what = linked(text).partition(": ")
    return f"**{name}**: {what}."


@pytest.mark.parametrize("path", PAGES.values(), ids=PAGES)
def test_the_page_is_what_the_specs_say(path):
    assert PARTS.search(path.read_text())
    assert rewritten(path.read_text()) == path.read_text(), "run: python -m tests.test_docs_objectives"


def test_every_objective_has_its_picture():
    """Numbers of a picture are those of tests/analysis/test_weight_curves.py; here, that it is of the present spec."""
    for name in filter(has_picture, maspo_dsl.shipped()):
        text = (PICTURES / f"{name}.svg").read_text()
        assert f"<!-- {objective(name).hash} -->" in text, f"{name}: run python -m tests.test_docs_objectives"


def test_every_objective_has_its_section():
    assert sorted(in_order()) == sorted(maspo_dsl.shipped())


def test_every_objective_says_what_others_do():
    for name in maspo_dsl.shipped():
        differs = objective(name).resolved.differs
        assert differs, name
        assert all(re.fullmatch(r"\S.*?: \S.*[^.]", text) and len(text) <= 120 for text in differs), name


@pytest.mark.parametrize("peer", ["TRL", "verl"])
def test_options_of_peers_are_called_what_they_call_them(peer):
    """Where a peer is installed, every option that a `differs` line names is a word of its files."""
    spec = find_spec(peer.lower())
    if spec is None or spec.origin is None:
        pytest.skip(f"{peer} is not installed")
    files = [path for end in ("py", "yaml") for path in Path(spec.origin).parent.rglob(f"*.{end}")]
    known = set(re.findall(r"\w+", " ".join(path.read_text(errors="ignore") for path in files)))
    known |= {*maspo_dsl.shipped(), "low_high"}  # the last is how two numbers are written in one text
    found = 0
    for name in maspo_dsl.shipped():
        for who, _, what in (text.partition(": ") for text in objective(name).resolved.differs):
            options = set(re.findall(r"\b[a-z]+(?:_[a-z0-9]+)+\b", what)) if peer in who else set()
            found += len(options)
            assert options <= known | set(objective(name).params), f"{name}: {who}"
    assert found > 5


def test_links_of_the_page_lead_somewhere():
    page = PAGES["docs"]
    text = page.read_text()
    headings = {
        re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in re.findall(r"^#+ (.*)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings
    files = {target.split("#")[0] for target in re.findall(r"\]\((?!#|https?:)([^)]+)\)", text)}
    assert all((page.parent / file).exists() for file in files), files


if __name__ == "__main__":
    for path in PAGES.values():
        path.write_text(rewritten(path.read_text()))
    PICTURES.mkdir(exist_ok=True)
    for name in filter(has_picture, maspo_dsl.shipped()):
        (PICTURES / f"{name}.svg").write_bytes(drawn(name))
