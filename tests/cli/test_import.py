"""`maspo-dsl import` on the command line; what it writes is tested in tests/importing."""

import maspo_dsl


def test_a_spec_goes_to_standard_output_and_notes_beside_it(cli):
    result = cli("import", "trl", "loss_type=cispo")
    assert result.exit_code == 0
    assert maspo_dsl.parse(result.stdout).params["cap"] == 0.2
    assert "warning[cap-below-one]" in result.stderr
    assert "note: epsilon_high is unset" in result.stderr


def test_a_file_is_written_and_checked(cli, tmp_path):
    assert cli("import", "trl", "loss_type=sapo", "-o", "mine.obj").exit_code == 0
    assert cli("check", "mine.obj").exit_code == 0
    assert cli("fmt", "--check", "mine.obj").exit_code == 0
    assert maspo_dsl.load(tmp_path / "mine.obj").hash == maspo_dsl.load("sapo").hash
    assert cli("import", "trl", "-o", "mine.obj").exit_code == 0, "it was generated"
    (tmp_path / "other.obj").write_text("objective other extends grpo\n")
    assert cli("import", "trl", "-o", "other.obj").exit_code == 2


def test_mistakes_exit_with_2_and_write_nothing(cli, tmp_path):
    for arguments in (
        ["tlr"],
        ["trl", "epsilom=1"],
        ["trl", "use_adaptive_entropy=true"],
        ["trl", "no.yaml"],
    ):
        result = cli("import", *arguments, "-o", "mine.obj")
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith("error: ")
    assert not list(tmp_path.iterdir())
