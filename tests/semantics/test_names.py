"""Names that nothing reads, and names that are taken."""

import pytest

import maspo_dsl


def codes(text):
    with pytest.raises(maspo_dsl.SpecError) as caught:
        maspo_dsl.parse(f"objective o extends group_ppo\n{text}\n")
    return [found.code for found in caught.value.diagnostics]


def test_an_unread_name_is_said_beside_mistakes_that_hide_no_reader():
    assert codes("param idle = 1\nparam eps_low = 7") == ["unread-name", "out-of-domain"]
    assert codes("param idle = 1\ndrop ratio") == ["unread-name", "no-neutral"]


def test_an_unread_name_is_not_said_where_its_reader_was_not_understood():
    assert codes("param width = 1\nratio = policy / old |> gaussian_gat(width)") == ["unknown-function"]


@pytest.mark.parametrize("name", ["mask", "logp", "logp_old", "present", "advantage"])
def test_an_input_has_a_name_of_its_own(name):
    assert codes(f"input {name} : token\nweight w = {name}")[0] == "shadowed-name"


def test_an_infinite_literal_is_one_mistake():
    assert codes("param eps_high = 1e999") == ["infinite-literal"]
