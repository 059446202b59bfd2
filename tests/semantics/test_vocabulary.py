"""The primitives are few, closed, and name no method: what a paper brings is written in the language."""

import re

import pytest

import maspo_dsl
from maspo_dsl.graph.build import build
from maspo_dsl.language.keywords import RESERVED_WORDS
from maspo_dsl.semantics import vocabulary
from maspo_dsl.semantics.distributions import DISTRIBUTION_WORDS
from maspo_dsl.semantics.operations import FUNCTIONS
from maspo_dsl.semantics.part_words import PART_WORDS, SLOTS
from maspo_dsl.semantics.quantities import QUANTITIES
from maspo_dsl.semantics.reductions import REDUCTION_WORDS
from maspo_dsl.semantics.scopes import SCOPES
from maspo_dsl.semantics.shipped import library_definitions, library_trees

METHODS = """
    a2c aapo aspo bapo bnpo cispo clip clip_cov clip_higher cppo dapo dcpo dgpo dpo dppo dr_grpo dro dual_clip gae gate
    gepo geomean gmpo gpg gpo grpo gspo icepop k1 k2 k3 kimi loo luspo maspo minirl mirror opo opsm overlong pf_ppo
    ppo prime reinforce reinforce_plus_plus reinforce_pp remax rloo sapo scale score spo stapo surrogate tis topr trpo
    vapo vcpo vespo whiten center clamp leave_one_out advantage baseline normalize entropy_bonus importance_sampling
""".split()  # noqa: SIM905


def test_primitives_are_a_short_closed_list():
    assert len(vocabulary.PRIMITIVES) <= 36
    assert set(vocabulary.PRIMITIVES) == {
        *FUNCTIONS,
        *REDUCTION_WORDS,
        *vocabulary.SPECIAL,
        *DISTRIBUTION_WORDS,
    }


def test_no_primitive_is_a_method():
    others = {*METHODS, *maspo_dsl.shipped(), *library_definitions()}
    assert not set(vocabulary.PRIMITIVES) & others
    for primitive in vocabulary.PRIMITIVES:
        assert not re.search(r"ppo|grpo|clip|gate|kl_|advantage", primitive), primitive


def test_no_word_means_two_things():
    lists = {
        "slot": set(SLOTS),
        "primitive": set(vocabulary.PRIMITIVES),
        "scope": set(SCOPES),
        "library": set(library_definitions()),
        "word": set(RESERVED_WORDS),
    }
    for first, words in lists.items():
        for second, others in lists.items():
            assert first == second or not words & others, (first, second, words & others)
    assert not set(QUANTITIES) & set().union(*(lists[key] for key in lists))


def test_library_defines_each_name_once():
    names = [d.name.text for library in library_trees().values() for d in library.definitions]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("words", ["PRIMITIVES", "WARNINGS"])
def test_every_word_has_a_meaning(words):
    for word, meaning in getattr(vocabulary, words).items():
        assert meaning and not meaning.endswith("."), word


def test_every_slot_has_a_meaning():
    for word, kind in PART_WORDS.items():
        assert kind.doc and kind.axes, word
        assert (kind.neutral is None) is (kind.dropped == ""), word
        assert (kind.form == "rule") is bool(kind.note and kind.adjective), word


def test_every_primitive_is_used_or_checked_somewhere():
    """In the library, a shipped objective, or a spec here: no primitive is dead."""
    text = "\n".join(
        [maspo_dsl.load(name).resolved.text for name in maspo_dsl.shipped()]
        + [str(definition) for definition in library_definitions().values()]
        + [SPEC]
    )
    for primitive in vocabulary.PRIMITIVES:
        assert re.search(rf"\b{primitive}\b", text), primitive


SPEC = """\
objective every_primitive extends group_ppo
let a = exp(sqrt(abs(sigmoid(tanh(erf(atan(softplus(logsigmoid(log(old))))))))))
let b = min(max(a, 0.1), 2) * sum(a, sequence) / count(a, sequence)
let c = min(old, group) + max(old, sequence) + quantile(entropy(policy), 0.5, window)
let d = next(old) + discounted_sum(old, 0.9) * position + binom(count(reward, group), 2)
let e = previous(old) + running_sum(old, 0.9) + running_min(old) * running_max(old) + logsumexp(old, sequence)
advantage = reward * kth(reward, group, 2) * rank(reward, group) |> per_token
weight all = detach(b + c + d + e)
penalty spread = kl(policy, reference) + jsd(old, policy) + collision(policy)
mute few where pick(A > 0, 0.5, micro, seed = 0) and top(old, 0.5, micro) or tail(old, 0.5, micro)
"""


def test_the_spec_with_every_primitive_builds():
    graph = build(maspo_dsl.parse(SPEC).resolved.parts)
    assert {"entropy", "logp", "logp_old"} <= set(graph.inputs(["loss"]))


@pytest.mark.parametrize("name", [*SCOPES, *QUANTITIES])
def test_words_of_the_language_cannot_be_redefined(name):
    for statement in (f"let {name} = 1", f"param {name} = 1", f"def {name}(x) = x"):
        with pytest.raises(maspo_dsl.SpecError) as caught:
            maspo_dsl.parse(f"objective example extends grpo\n{statement}\n")
        assert {d.code for d in caught.value.diagnostics} <= {"shadowed-name", "reserved-name"}
