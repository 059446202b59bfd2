"""The plugin for pytest, in a pytest of its own."""

import pytest

from maspo_dsl.verification import verify

pytest_plugins = ["pytester"]

HOLDS = "objective plain extends group_ppo\nreduce = loss |> mean(window)\n"
FAILS = "objective doubled extends plain\nweight twice = 2 if A > 0 else 1\n"
LIBRARY = 'def halved(x) = x / 2  "half of it"\n'


@pytest.fixture
def folder(pytester, monkeypatch):
    """Two objectives and a library, and four lines to verify."""
    names = ("compiled, float64", "on policy", "rows", "padding")
    monkeypatch.setattr(verify, "CHECKS", [check for check in verify.CHECKS if check.name in names])
    for name, text in (("plain", HOLDS), ("doubled", FAILS), ("library", LIBRARY)):
        (pytester.path / f"{name}.obj").write_text(text)
    return pytester


def test_every_line_is_a_test(folder):
    """Of two objectives, one of which fails on policy; eagerly nothing is compiled."""
    result = folder.runpytest("--verify-objectives", "--verify-backend=eager")
    result.assert_outcomes(passed=5, failed=1, skipped=2)
    result.stdout.fnmatch_lines(["*doubled.obj: With old = rollout*", "*allow on-policy-weight*"])
    result.stdout.fnmatch_lines(["FAILED doubled.obj::on policy*"])


def test_by_the_configuration(folder):
    folder.makeini("[pytest]\nverify_objectives = true\nverify_backend = eager\n")
    folder.runpytest("plain.obj", "-k", "rows or padding").assert_outcomes(passed=2)


def test_nothing_is_collected_unasked(folder):
    folder.runpytest().assert_outcomes()


def test_a_spec_with_a_mistake(folder):
    (folder.path / "broken.obj").write_text("objective broken extends plain\nratio = polcy / old\n")
    result = folder.runpytest("--verify-objectives", "broken.obj")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*broken.obj:2:9*polcy*"])


def test_a_backend_that_there_is_not(folder):
    folder.makeini("[pytest]\nverify_backend = jit\n")
    result = folder.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*verify_backend is one of inductor, eager*"])
