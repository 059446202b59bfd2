"""Names that nothing reads, and names that are taken."""

import pytest

import maspo_dsl


def codes(text):
    with pytest.raises(maspo_dsl.SpecError) as caught:
        maspo_dsl.parse(f"objective o extends group_ppo\n{text}\n")
    return [found.code for found in caught.value.diagnostics]


def test_an_unread_name_is_said_beside_mistakes_that_hide_no_reader():
    assert codes("param idle = 1\nparam eps_low = 7") == ["unread-name", "out-of-domain"]
    assert codes("param idle = 1\ndrop reduce") == ["unread-name", "no-neutral"]


def test_an_unread_name_is_not_said_where_its_reader_was_not_understood():
    assert codes("param width = 1\nratio = policy / old |> gaussian_gat(width)") == ["unknown-function"]


@pytest.mark.parametrize("name", ["mask", "logp", "logp_old", "present", "advantage"])
def test_an_input_has_a_name_of_its_own(name):
    assert codes(f"input {name} : token\nweight w = {name}")[0] == "shadowed-name"


def test_an_infinite_literal_is_one_mistake():
    assert codes("param eps_high = 1e999") == ["infinite-literal"]


@pytest.mark.parametrize(
    "lines",
    [
        "teacher ref\nweight w = ref",
        "teacher old\nweight w = old",
        "teacher clip\nparam clip = 1\nweight w = clip",
        "input logp_m : token\nteacher m\nweight w = logp_m * m",
        "teacher m\ninput logp_m : token\nweight w = logp_m * m",
        "teacher m\nlet m = 1\nweight w = m",
    ],
)
def test_a_teacher_has_a_name_and_a_tensor_of_its_own(lines):
    assert codes(lines)[0] == "shadowed-name"


def test_teacher_is_a_name_like_any_other_elsewhere():
    for line in ("let teacher = 2", "param teacher = 2", "input teacher : sequence"):
        assert maspo_dsl.parse(f"objective o extends group_ppo\n{line}\nweight w = teacher\n").hash
    assert codes("teacher m = 3") == ["wrong-form"]
    assert codes("teacher m") == ["unread-name"]


def test_a_teacher_goes_the_way_of_an_inherited_input(tmp_path):
    base = 'objective base extends group_ppo\nteacher m "first"\npenalty near = 0.1 * k3(policy, m)\n'
    (tmp_path / "base.obj").write_text(base)

    def above(lines):
        (tmp_path / "above.obj").write_text(f"objective above extends base\n{lines}\n")
        return maspo_dsl.load(tmp_path / "above.obj")

    same = above('teacher m "other words"')
    assert same.hash == maspo_dsl.load(tmp_path / "base.obj").hash == maspo_dsl.parse(same.text).hash
    assert same.resolved.tensors["logp_m"].doc == "other words" and "logp_m" in same.inputs
    dropped = above("drop near")
    assert "teacher" not in dropped.text and "logp_m" not in dropped.inputs
    assert above("teacher n\npenalty near = 0.1 * k3(policy, n)").hash != same.hash
