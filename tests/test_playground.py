"""What the page of the playground asks: of the package, and of the archive that it loads, where there is no numpy."""

import json
import math
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

import maspo_dsl
from maspo_dsl.cli.output import InputError
from maspo_dsl.cli.playground import serving
from maspo_dsl.editor.completion import completions
from maspo_dsl.editor.document import Document
from maspo_dsl.language.source import Source
from maspo_dsl.playground import answers

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / "web" / "python"
CLIPPED = "objective mine extends group_ppo\n"
WRONG = 'objective mine extends group_ppo\n"🙂 emoji"\nratio = policy / old |> clp(0.8, 1.2)\n'


def ask(question, **given):
    return json.loads(answers.answer(question, json.dumps(given)))


def answered(question, **given):
    return ask(question, **given)["answer"]


def text_of(name):
    return maspo_dsl.load(name).source_text


# ---- natively


def test_a_mistake_has_its_place_in_units_of_a_browser():
    (found,) = answered("errors", text=WRONG)
    units = WRONG.encode("utf-16-le")
    assert units[2 * found["from"] : 2 * found["to"]].decode("utf-16-le") == "clp"
    assert (found["line"], found["column"], found["code"]) == (3, 25, "unknown-function")
    assert found["hint"] == "did you mean `clip`?"


@pytest.mark.parametrize(
    "text", ["", "\n", "objec", "__import__('os').system('false')", "objective x extends nothing\n", "\udc80"]
)
def test_what_is_no_objective_is_answered_with_a_mistake(text):
    (found, *_) = answered("errors", text=text)
    assert 0 <= found["from"] <= found["to"] <= len(text) + 1
    for question in ("summary", "curves", "torch"):
        assert ask(question, text=text, params={})["diagnostics"]
    assert ask("formatted", text=text).keys() <= {"diagnostics", "answer"}


def test_a_value_outside_its_interval_is_a_mistake():
    (found,) = ask("curves", text=text_of("maspo"), params={"alpha": 2})["diagnostics"]
    assert found["code"] == "out-of-domain"
    assert found["message"].startswith("<parameters>:1: `alpha` = 2 is outside [0, 1]")


def test_a_summary_says_what_the_objective_is():
    found = answered("summary", text=text_of("maspo"), params={"alpha": 0.5})
    assert found["hash"] == maspo_dsl.load("maspo", {"alpha": 0.5}).hash != maspo_dsl.load("maspo").hash
    assert found["lineage"] == ["maspo", "group_ppo"]
    alpha = next(row for row in found["parameters"] if row["name"] == "alpha")
    assert (alpha["value"], alpha["low"], alpha["high"], alpha["domain"]) == (0.5, 0, 1, "[0, 1]")
    sigma = next(row for row in found["parameters"] if row["name"] == "sigma_base")
    assert (sigma["low"], sigma["high"]) == (0, None)
    assert r"\alpha" in found["formula"]


def test_curves_of_a_clip_are_those_on_paper():
    """A clipped ratio r weighs A r, until it passes the bound that its advantage leads to."""
    found = answered("curves", text=CLIPPED, params={"eps_low": 0.2, "eps_high": 0.3})
    assert {curve["old"] for curve in found["curves"]} == set(answers.OLDS)
    for curve in found["curves"]:
        for ratio, weight in zip(found["ratios"], curve["weights"], strict=True):
            clipped = ratio > 1.3 if curve["advantage"] > 0 else ratio < 0.8
            impossible = ratio * curve["old"] > 1
            expected = None if impossible else 0.0 if clipped else curve["advantage"] * ratio
            assert weight == (None if expected is None else pytest.approx(expected, abs=1e-12)), (
                curve["old"],
                ratio,
            )


def test_a_curve_moves_with_alpha():
    """By the gate's formula: r exp(-(r - 1)^2 / 2 w^2), w = min(old^-alpha, 10) (1 + 0.03 A)."""
    for alpha in (0.0, 0.3, 1.0):
        found = answered("curves", text=text_of("maspo"), params={"alpha": alpha}, olds=[0.1])
        place = min(range(len(found["ratios"])), key=lambda i: abs(found["ratios"][i] - 3))
        ratio = found["ratios"][place]
        width = min(0.1**-alpha, 10) * 1.03
        expected = ratio * math.exp(-((ratio - 1) ** 2) / (2 * width**2))
        assert found["curves"][0]["weights"][place] == pytest.approx(expected, rel=1e-9)


def test_without_a_policy_term_there_is_no_curve_but_a_sentence():
    text = "objective sft\nratio = none\npenalty nll = -log(policy)\nreduce = loss |> mean(window)\n"
    if answered("errors", text=text):
        pytest.skip("the language has no `ratio = none` here")
    found = answered("curves", text=text, params={})
    assert found["curves"] == []
    assert found["why"]


def test_a_difference_names_parts_and_lines():
    found = answered("difference", text=text_of("maspo"), params={}, other="group_ppo")
    assert not found["same"]
    parts = {part["part"]: (part["first"], part["second"]) for part in found["parts"]}
    assert {"ratio", "mass"} <= parts.keys()
    assert (parts["param alpha"], parts["param eps_low"]) == (("", "0.3"), ("0.2", ""))
    assert any(note.startswith("maspo: MASPO-RL") for note in found["notes"])
    assert any(line.startswith("+let mass") for line in found["lines"])
    assert answered("difference", text=CLIPPED, params={}, other="group_ppo")["same"]


def test_curves_say_what_they_leave_out():
    assert answered("curves", text=text_of("maspo"), params={})["note"] == ""
    note = answered("curves", text=text_of("gspo"), params={})["note"]
    assert note == "each token is a completion of its own"


def test_a_text_that_is_nested_too_deeply_is_a_mistake_not_a_crash():
    lets = "".join(f"let a{n} = a{n - 1} + 1\n" for n in range(1, 3000))
    found = ask("summary", text=f"{CLIPPED}let a0 = old\n{lets}ratio = policy / old * a2999\n", params={})
    assert found["diagnostics"][0]["code"] == "too-deep"
    assert "answer" not in found


def test_torch_is_the_generated_file():
    assert answered("torch", text=CLIPPED, params={}) == maspo_dsl.parse(CLIPPED).torch_source()


def test_words_and_what_ships_are_those_of_the_tables():
    assert [row["name"] for row in answered("shipped")] == maspo_dsl.shipped()
    words = {row["word"] for row in answered("words")}
    assert {"objective", "mute", "group", "entropy", "clamp", "gaussian_gate"} <= words


def test_words_at_a_place_are_those_of_an_editor():
    """A smiley counts two units in a browser and one in Python."""
    text = 'objective mine extends group_ppo\n"😀"\nparam tau = 1\nratio = policy / old |> clam'
    found = answered("complete", text=text, at=len(text) + 1)
    expected = completions(Document(Source("playground.obj", text)), len(text))
    assert [row["word"] for row in found] == [word.text for word in expected]
    assert {"clamp", "clip"} <= {row["word"] for row in found} and "mute" not in {
        row["word"] for row in found
    }
    assert all(row.keys() == {"word", "sort", "meaning"} for row in found)
    swapped = answered("complete", text="objective mine extends maspo\nswap g", at=35)
    assert {"gate", "mass"} <= {row["word"] for row in swapped}


# ---- without numpy, from the archive

ASKED = """
import json, sys
sys.path[:] = [sys.argv[1], *(part for part in sys.path if 'site-packages' not in part)]
import numpy
assert numpy.__version__ == '0+python', 'numpy itself is here'
from maspo_dsl.playground.answers import answer
for line in sys.stdin:
    question, given = json.loads(line)
    print(answer(question, json.dumps(given)))
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, ROOT / "web" / "pack.py", folder], check=True, timeout=120)
    return folder


def from_archive(archive, questions):
    """Answers of the very files that the page loads, by a Python that has nothing else."""
    asked = "".join(json.dumps(question) + "\n" for question in questions)
    command = [sys.executable, "-I", "-S", "-c", ASKED, str(archive / "python.zip")]
    result = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def rounded(value):
    """Numbers to ten digits: a sum in another order has another last one."""
    if isinstance(value, float):
        return float(f"{value:.10g}") + 0.0
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return {key: rounded(each) for key, each in value.items()} if isinstance(value, dict) else value


def test_the_archive_answers_as_the_package_does(archive):
    """Of everything that ships: hash and formula, curves, torch."""
    olds = [0.5, 0.01]
    questions = [
        ["errors", {"text": WRONG}],
        ["difference", {"text": CLIPPED, "params": {}, "other": "dapo"}],
    ]
    for name in maspo_dsl.shipped():
        questions.append(["summary", {"text": text_of(name), "params": {}}])
        questions.append(["curves", {"text": text_of(name), "params": {}, "olds": olds}])
        questions.append(["torch", {"text": text_of(name), "params": {}}])
    found = from_archive(archive, questions)
    for (question, given), one in zip(questions, found, strict=True):
        assert rounded(one) == rounded(ask(question, **given)), (question, given["text"][:40])
    assert all(any(curve["weights"]) for one in found[3::3] for curve in one["answer"]["curves"][:1])


def test_the_archive_warns_as_the_package_does(archive):
    texts = [
        "objective mine extends group_ppo\nratio = policy / old\n",
        "objective mine extends group_ppo\nratio = policy / old |> clip(0.5, 0.9)\nparam idle = 3\n",
        text_of("cispo"),
    ]
    questions = [["warnings", {"text": text}] for text in texts]
    found = from_archive(archive, questions)
    assert found == [ask(question, **given) for question, given in questions]
    assert found[0]["answer"][0]["code"] == "unbounded-side"


EXPRESSIONS = """
np.random.default_rng([3, 12345]).random((2, 3))
np.random.default_rng([30000, 4294967295]).random(5)
np.array([1.0, 0.0, -1.0]) / np.array([0.0, 0.0, 0.0])
np.exp(np.array([1.0, 1000.0, -1000.0, np.inf, np.nan]))
np.log(np.array([1.0, 0.0, -1.0, np.inf]))
np.power(np.array([0.0, -8.0, -2.0, 1e300]), np.array([-1.0, 1 / 3, 3.0, 2.0]))
np.minimum(np.array([1.0, np.nan, 2.0]), np.array([np.nan, 1.0, 1.0]))
np.maximum(np.array([[1.0], [3.0]]), np.array([0.0, 2.0, 4.0]))
np.where(np.array([True, False]), 1, 2.5)
np.sign(np.array([-2.0, 0.0, 3.0, np.nan]))
np.floor(np.array([-1.5, 2.7, np.inf]))
np.round(np.array([0.25, 0.35, -1.05]), 1)
np.logaddexp(0.0, np.array([-800.0, 0.0, 800.0, np.inf]))
np.arange(12.0).reshape(3, 4)[:, 1:3]
np.arange(12.0).reshape(3, 4)[:, ::-1].T
np.arange(12.0).reshape(3, 4)[np.array([2, 0]), np.array([1, 3])]
np.arange(12.0).reshape(3, 4)[1, np.array([True, False, True, False])]
np.arange(12.0).reshape(3, 4)[np.arange(12).reshape(3, 4) % 5 == 0]
np.arange(6.0)[:, None] * np.arange(2.0)
np.arange(24.0).reshape(2, 3, 4).sum(axis=1)
np.arange(24.0).reshape(2, 3, 4).max(axis=2)
np.arange(6.0).reshape(2, 3).sum(axis=1, keepdims=True)
np.cumsum(np.array([[True, False, True], [True, True, True]]), axis=1)
np.maximum.accumulate(np.array([[1.0, 3.0, 2.0], [5.0, 4.0, 6.0]]), axis=1)
np.argsort(np.array([[3.0, 1.0, 1.0], [np.nan, 2.0, -np.inf]]), axis=1, kind="stable")
np.argmax(np.array([[1.0, 3.0, 3.0], [np.nan, 2.0, 5.0]]), axis=1)
np.unique(np.array([3.0, 1.0, 3.0]))
np.unique(np.array([[1, 0, 1, 0], [2, 2, 2, 1]]), axis=1, return_inverse=True)[0]
np.ravel(np.unique(np.array([[1, 0, 1, 0], [2, 2, 2, 1]]), axis=1, return_inverse=True)[1])
np.bincount(np.array([0, 2, 2]), np.array([1.0, 2.0, 4.0]), 4)
np.searchsorted(np.array([0, 0, 1, 3]), np.array([0, 1, 2, 3]))
[float(np.quantile(np.array([4.0, 1.0, 3.0]), q)) for q in (0.0, 0.1, 0.5, 0.9, 1.0)]
np.select([np.array([True, False, False]), np.array([True, True, False])], [1.0, np.array([5.0, 6.0, 7.0])], 9.0)
np.repeat(np.arange(3), (2, 0, 1))
np.resize((1.0, 2.0, 3.0), 5)
np.r_[True, np.array([1, 2]) != np.array([1, 3])]
np.linspace(0.1, 0.7, 5)
np.ravel(np.meshgrid(np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0]), indexing="ij")[1])
np.array([1.0, -2.5]).astype(np.float32).view(np.int32).astype(np.int64)
np.broadcast_to(np.array([[1.0], [2.0]]), (2, 3))
np.clip(np.array([-5.0, 0.5, 5.0]), -1.0, 1.0)
np.isfinite(np.array([1.0, np.inf, np.nan]))
np.array([True, False]) + np.array([True, True])
~np.array([True, False]) & np.array([True, True])
[bool(np.allclose(np.array([1.0, np.nan]), np.array([1.0, np.nan]), equal_nan=n)) for n in (True, False)]
"""

EVALUATED = """
import sys, json
sys.path.insert(0, sys.argv[1])
import numpy as np
def shown(value):
    return repr(value.tolist()) if hasattr(value, 'tolist') else repr(value)
print(json.dumps([shown(eval(line, {'np': np})) for line in sys.stdin.read().splitlines()]))
"""


def test_the_part_of_numpy_in_python_has_numpys_values():
    lines = EXPRESSIONS.strip().splitlines()
    command = [sys.executable, "-I", "-S", "-c", EVALUATED, str(PYTHON)]
    result = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    there = {"nan": math.nan, "inf": math.inf}
    with np.errstate(all="ignore"):
        for line, shown in zip(lines, json.loads(result.stdout), strict=True):
            expected, got = eval(line, {"np": np}), np.array(eval(shown, there))
            assert np.shape(expected) == got.shape, line
            np.testing.assert_allclose(got, np.array(expected), rtol=1e-14, atol=0, err_msg=line)


# ---- the server


@pytest.fixture
def server(tmp_path):
    (tmp_path / "index.html").write_text("the page")
    (tmp_path / "code.mjs").write_text("")
    (tmp_path / "folder").mkdir()
    with serving(tmp_path, 0) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield found
        found.shutdown()


def fetched(server, path="", **headers):
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}/{path}", headers=headers)
    return urllib.request.urlopen(request, timeout=10)


def test_the_page_is_served_to_this_machine_alone(server):
    assert server.server_address[0] == "127.0.0.1"
    assert fetched(server).read() == b"the page"
    assert fetched(server, "code.mjs").headers["Content-Type"] == "text/javascript"
    for path, headers, code in [
        ("", {"Host": "evil.example:80"}, 403),
        ("folder/", {}, 404),
        ("../pyproject.toml", {}, 404),
    ]:
        with pytest.raises(urllib.error.HTTPError) as refused:
            fetched(server, path, **headers)
        assert refused.value.code == code


def test_a_site_that_is_not_built_and_a_port_that_is_taken_are_said(server, tmp_path):
    with pytest.raises(InputError, match="`make site` builds it"):
        serving(tmp_path / "folder", 0)
    with pytest.raises(InputError, match=f"port {server.server_port} cannot be had"):
        serving(tmp_path, server.server_port)
