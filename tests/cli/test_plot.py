"""`maspo-dsl plot`: pictures that are whole, and one line for what cannot be drawn."""

import re

import pytest

STARTS = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}


@pytest.mark.parametrize("kind", STARTS)
def test_a_picture_is_of_the_kind_that_its_name_says(cli, tmp_path, kind):
    assert cli("plot", "maspo", "dapo", "-o", f"fig.{kind}").exit_code == 0
    assert (tmp_path / f"fig.{kind}").read_bytes().startswith(STARTS[kind])


def test_the_same_spec_gives_the_same_bytes(cli, tmp_path):
    for name in ("a.svg", "b.svg"):
        assert cli("plot", "gspo", "-o", name).exit_code == 0
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def words(path):
    return re.findall(r"<text[^>]*>([^<]*)<", path.read_text())


def test_a_picture_of_one_shows_what_matters(cli, tmp_path):
    cli("plot", "maspo", "-o", "maspo.svg")
    cli("plot", "dapo", "-o", "dapo.svg")
    assert {"old = 0.9", "old = 0.01", "A = 1", "ratio r"} <= set(words(tmp_path / "maspo.svg"))
    assert "old = 0.9" not in words(tmp_path / "dapo.svg")


def test_several_are_overlaid_with_their_differences(cli, tmp_path):
    assert cli("plot", "dapo", "sapo", "params.eps_low=0.1", "-o", "x.svg").exit_code == 0
    assert {"dapo", "sapo", "minus dapo"} <= set(words(tmp_path / "x.svg"))


def test_a_value_changes_the_curve(cli, tmp_path):
    cli("plot", "dapo", "-o", "a.svg")
    cli("plot", "dapo", "params.eps_high=1", "-o", "b.svg")
    assert (tmp_path / "a.svg").read_text() != (tmp_path / "b.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["maspo", "-o", "fig.jpg"], "expected one of .svg, .pdf, .png"),
        (["maspo", "-o", "fig"], "expected one of .svg, .pdf, .png"),
        (["maspo", "-o", "no/such/folder/fig.svg"], "cannot be written: no such file"),
        (["nothing.obj"], "there is no file `nothing.obj`"),
        (["maspo", "dapo", "params.nothing=1"], "none of maspo, dapo has such a parameter"),
        (["params.alpha=1"], "no SPEC is given"),
        (["maspo"] * 7, "cannot be told apart: at most 6"),
    ],
)
def test_what_cannot_be_drawn_is_a_line(cli, tmp_path, arguments, message):
    result = cli("plot", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not list(tmp_path.glob("*.svg"))


def test_what_has_no_curve_shows_what_there_is(cli, write):
    write(
        "dpo.obj",
        'objective dpo extends grpo\n"no policy term"\ndrop ratio\npenalty p = -0.1 * log(policy)\n',
    )
    result = cli("plot", "dpo.obj")
    assert result.exit_code == 2
    assert "dpo has no policy term" in result.stderr
    assert "log(π)" in result.stderr
    beside = cli("plot", "dpo.obj", "dapo")
    assert beside.exit_code == 0
    assert "not in the picture: dpo" in beside.stderr
