"""Tasks: examples that are right, seeded and disjoint from the held-out ones, and files read with care."""

import json
import sys
import warnings
from itertools import islice

import pytest
from maspo_dsl.trainers.config_error import ConfigError
from maspo_dsl.trainers.rewards import exact_match, score
from maspo_dsl.trainers.streams import Streams
from maspo_dsl.trainers.tasks import build_task


def first(task, count, seed=0):
    return list(islice(task.train(seed), count))


def write(path, rows):
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("task", [build_task("sort"), build_task("sort", digits=3), build_task("addition")])
def test_training_is_seeded_and_never_held_out(task):
    assert first(task, 50) == first(task, 50)
    assert first(task, 50) != first(task, 50, seed=1)
    held_out = task.held_out(256)
    assert held_out == task.held_out(256)
    assert held_out[:10] == task.held_out(10)
    prompts = [str(example.prompt) for example in held_out]
    assert len(set(prompts)) == len(prompts) > 50
    assert not set(prompts) & {str(example.prompt) for example in first(task, 5000)}


def test_sort_asks_for_sorted_digits():
    for example in first(build_task("sort", digits=4), 20):
        digits = example.prompt.removeprefix("sort ").removesuffix("=")
        assert len(digits) == 4
        assert example.columns == {"answer": "".join(sorted(digits))}


def test_held_out_share_of_sort():
    assert len(build_task("sort", digits=4).held_out(10_000)) == pytest.approx(1000, abs=150)


def test_addition_holds_out_a_pair_in_both_orders():
    task = build_task("addition", chat=False)
    questions = {tuple(example.prompt.split()[3:6:2]) for example in task.held_out(100)}
    pairs = {(a, b.rstrip("?.")) for a, b in questions}
    assert all((b, a) in pairs for a, b in pairs)


def test_addition_finds_the_sum_in_the_answer():
    task = build_task("addition")
    example = first(task, 1)[0]
    total = example.columns["answer"]
    texts = [total, f"The answer is {total}.", f"1{total}", f"{total}.5", "", f"-{total}"]
    prompts, answers = [example.prompt] * len(texts), {"answer": [total] * len(texts)}
    assert score(task.reward, prompts, texts, answers).values == [1, 1, 0, 0, 0, 0]


def test_echoing_an_addition_earns_nothing():
    task = build_task("addition", chat=False)
    examples = task.held_out(100)
    prompts = [example.prompt for example in examples]
    answers = {"answer": [example.columns["answer"] for example in examples]}
    assert sum(score(task.reward, prompts, prompts, answers).values) == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("sorted", {}, "did you mean `sort`"),
        ("nonsense", {}, "known: addition, reasoning_gym, sort; a .jsonl file"),
        ("sort", {"digit": 5}, "did you mean `digits`"),
        ("sort", {"digits": 0}, "from 2 to 32"),
        ("sort", {"digits": "six"}, "digits=six"),
        ("sort", {"digits": True}, "from 2 to 32"),
        ("addition", {"low": 5, "high": 6}, "too few pairs"),
        ("addition", {"chat": "no"}, "true or false"),
        ("addition", {"height": 9}, "did you mean `high`"),
    ],
)
def test_a_wrong_name_or_option(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build_task(name, **options)


def test_the_fingerprint_follows_the_options():
    names = [
        build_task("sort"),
        build_task("sort", digits=5),
        build_task("addition"),
        build_task("addition", high=9),
    ]
    assert len({task.fingerprint for task in names}) == 4


def test_a_file_of_prompts(tmp_path):
    rows = [{"prompt": f"p{i}", "answer": i} for i in range(20)]
    task = build_task(write(tmp_path / "a.jsonl", [*rows[:10], "", *rows[10:]]))
    assert [example.prompt for example in task.held_out(9)] == ["p18", "p19"]
    epoch = first(task, 18)
    assert {example.prompt for example in epoch} == {f"p{i}" for i in range(18)}
    assert epoch == first(task, 36)[:18] != first(task, 36)[18:]
    assert task.reward is exact_match
    assert score(task.reward, ["p1", "p2"], [" 1\n", "1"], {"answer": [1, 2]}).values == [1, 0]


def test_a_file_of_prompts_that_begins_with_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "a"}\n{"prompt": "b"}\n', encoding="utf-8-sig")
    assert build_task(str(path)).held_out(1)[0].prompt == "b"


def test_columns_that_a_line_lacks_are_none(tmp_path):
    rows = [{"prompt": "a", "answer": "x"}, {"prompt": "b", "level": 3}, {"prompt": "c"}]
    task = build_task(write(tmp_path / "a.jsonl", rows))
    assert all(set(example.columns) == {"answer", "level"} for example in first(task, 2) + task.held_out(1))
    with pytest.raises(ConfigError, match=r"no `answer` in 2 of its lines.*reward=module\.function"):
        _ = task.reward


def test_a_file_without_answers_needs_a_reward(tmp_path):
    task = build_task(write(tmp_path / "a.jsonl", [{"prompt": "a"}, {"prompt": "b"}]))
    with pytest.raises(ConfigError, match=r"no `answer` column.*reward=module\.function"):
        _ = task.reward


def test_held_out_prompts_of_another_file(tmp_path):
    held_out = write(tmp_path / "h.jsonl", [{"prompt": "b"}, {"prompt": "z"}])
    path = write(tmp_path / "a.jsonl", [{"prompt": "a"}, {"prompt": "b"}])
    with pytest.warns(UserWarning, match="1 training lines left out"):
        task = build_task(path, held_out=held_out)
    assert [example.prompt for example in task.held_out(5)] == ["b", "z"]
    assert {example.prompt for example in first(task, 10)} == {"a"}


def test_messages_are_prompts(tmp_path):
    rows = [{"prompt": [{"role": "user", "content": f"q{i}"}], "answer": "1"} for i in range(3)]
    task = build_task(write(tmp_path / "a.jsonl", rows))
    example = first(task, 1)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score(task.reward, [example.prompt], ["1"], {"answer": ["1"]}).values == [1]


def test_the_fingerprint_follows_the_file(tmp_path):
    rows = [{"prompt": f"p{i}", "answer": "x"} for i in range(3)]
    one = build_task(write(tmp_path / "a.jsonl", rows)).fingerprint
    assert build_task(write(tmp_path / "b.jsonl", rows)).fingerprint == one
    rows[1]["answer"] = "y"
    assert build_task(write(tmp_path / "a.jsonl", rows)).fingerprint != one


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"a\.jsonl:2: not JSON"),
        ("3", r"a\.jsonl:2: expected an object"),
        ('{"promt": "a"}', r"a\.jsonl:2: the object has no `prompt`; its keys: promt"),
        ('{"prompt": ""}', r"a\.jsonl:2: `prompt` is ''; expected text, or messages"),
        ('{"prompt": [{"role": "user"}]}', r"a\.jsonl:2: `prompt` is .*; expected text"),
        ('{"prompt": null}', r"a\.jsonl:2: `prompt` is None"),
        ('{"prompt": "a", "completions": 1}', r"a\.jsonl:2: a column cannot be called `completions`"),
        ("[" * 100_000, r"a\.jsonl:2: .*nesting too deep"),
        ('{"prompt": "a", "n": ' + "1" * 5000 + "}", r"a\.jsonl:2: a number too long"),
    ],
)
def test_a_line_that_cannot_be_used(tmp_path, line, message):
    path = write(tmp_path / "a.jsonl", [{"prompt": "x"}, line, {"prompt": "y"}])
    with pytest.raises(ConfigError, match=message):
        build_task(path)


def test_a_file_that_cannot_be_used(tmp_path):
    write(tmp_path / "prompts.jsonl", [{"prompt": "only"}])
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "table.txt").write_text("a,b")
    for name, message in {
        "promts.jsonl": r"there is no file .*did you mean .*/prompts\.jsonl",
        "prompts.jsonl": "at least two",
        "empty.jsonl": "is empty",
        "binary.jsonl": "not text in UTF-8",
        "table.txt": r"expected a file of \.jsonl",
    }.items():
        with pytest.raises(ConfigError, match=message):
            build_task(str(tmp_path / name))
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(ConfigError, match="is a folder"):
        build_task(str(tmp_path / "folder.jsonl"))
    with pytest.raises(ConfigError, match="no option `heldout`; did you mean `held_out`"):
        build_task(str(tmp_path / "prompts.jsonl"), heldout="x")


ROWS = [{"question": f"say {n}", "meta": {"solution": str(n)}, "level": n % 2} for n in range(20)]
OPTIONS = {"prompt": "question", "answer": "meta.solution"}


def parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.Table.from_pylist(ROWS), folder / "a.parquet")
    return str(folder / "a.parquet")


def saved_data_set(folder):
    data = pytest.importorskip("datasets").Dataset.from_list(ROWS)
    data.save_to_disk(str(folder / "rows"))
    return str(folder / "rows")


def saved_splits(folder):
    data = pytest.importorskip("datasets")
    rows = data.Dataset.from_list(ROWS)
    data.DatasetDict({"train": rows, "odd": rows.select([1, 3, 5])}).save_to_disk(str(folder / "rows"))
    return str(folder / "rows")


FORMATS = [lambda folder: write(folder / "a.jsonl", ROWS), parquet, saved_data_set, saved_splits]


@pytest.mark.parametrize("saved", FORMATS)
def test_every_format_gives_the_same_task(tmp_path, saved):
    """Columns of one's own, one of them nested; the last tenth is held out; the order and the rows are the file's."""
    task = build_task(saved(tmp_path), **OPTIONS)
    assert [example.prompt for example in task.held_out(9)] == ["say 18", "say 19"]
    assert sorted(int(example.prompt.split()[1]) for example in first(task, 18)) == list(range(18))
    for example in first(task, 18):
        number = int(example.prompt.split()[1])
        assert (example.columns["answer"], example.columns["level"]) == (str(number), number % 2)
    reference = build_task(write(tmp_path / "b.jsonl", ROWS), **OPTIONS)
    assert task.fingerprint == reference.fingerprint


def test_a_csv_has_texts_and_empty_cells_are_none(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('question,solution,level\n"say ""1"", loud",1,\nsay 2,2,7\nsay 3,3,8\n')
    task = build_task(str(path), prompt="question", answer="solution")
    examples = sorted((*first(task, 2), *task.held_out(1)), key=lambda each: each.columns["answer"])
    assert [each.prompt for each in examples] == ['say "1", loud', "say 2", "say 3"]
    assert [each.columns["level"] for each in examples] == [None, "7", "8"]
    path.write_text("question,solution\nsay 1,1,1\nsay 2,2\n")
    with pytest.raises(ConfigError, match=r"a\.csv:2: its number of cells is not that of the header"):
        build_task(str(path), prompt="question")


def test_columns_and_splits_that_are_not_there(tmp_path):
    with pytest.raises(
        ConfigError, match=r"no `prompt`; its keys: question, meta, level; `task_options\.prompt="
    ):
        build_task(write(tmp_path / "a.jsonl", ROWS))
    with pytest.raises(ConfigError, match=r"the object has no `qustion`"):
        build_task(write(tmp_path / "a.jsonl", ROWS), prompt="qustion")
    with pytest.raises(
        ConfigError, match=r"task_options\.answer=levl`: .*a\.jsonl has no such column.*`level`"
    ):
        build_task(write(tmp_path / "a.jsonl", ROWS), prompt="question", answer="levl")
    (tmp_path / "a.parquet").write_bytes(b"no table")
    with pytest.raises(ConfigError, match=r"cannot be read as parquet|needs pyarrow: pip install"):
        build_task(str(tmp_path / "a.parquet"))


def test_a_split_of_a_data_set(tmp_path):
    path = saved_splits(tmp_path)
    assert len(build_task(path, split="odd", **OPTIONS).examples) == 3
    with pytest.raises(ConfigError, match=r"has no split od; did you mean `odd`"):
        build_task(path, split="od", **OPTIONS)


@pytest.mark.parametrize(("package", "source"), [("pyarrow", "a.parquet"), ("datasets", "rows")])
def test_what_reads_a_format_and_is_not_installed_is_named(tmp_path, monkeypatch, package, source):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / source).mkdir() if source == "rows" else (tmp_path / source).write_bytes(b"")
    extra = "parquet" if package == "pyarrow" else package
    with pytest.raises(ConfigError, match=rf"needs {package}: pip install 'maspo-dsl\[{extra}\]'"):
        build_task(str(tmp_path / source))


RIDDLES = """
from maspo_dsl.trainers.rewards import exact_match
from maspo_dsl.trainers.tasks import Example

class Riddles:
    name, reward = "riddles", staticmethod(exact_match)

    def __init__(self, level=1):
        self.level, self.fingerprint = level, f"riddles {level}"

    def train(self, seed):
        for number in range(3):
            yield Example(f"{self.level}+{number}=", {"answer": str(self.level + number)})

    def held_out(self, count):
        return [Example("9+9=", {"answer": "18"})][:count]

class Nameless:
    def train(self, seed): ...

class Broken(Riddles):
    def train(self, seed):
        yield "a prompt alone"

class Failing(Riddles):
    def train(self, seed):
        raise KeyError("no data")

CONSTANT = 3
"""


@pytest.fixture
def riddles(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "riddles_task.py").write_text(RIDDLES)
    yield "riddles_task"
    sys.modules.pop("riddles_task", None)


def test_a_task_of_the_users_own_by_its_import_path(riddles):
    task = build_task(f"{riddles}.Riddles", level=4)
    assert [example.prompt for example in first(task, 2)] == ["4+0=", "4+1="]
    assert score(task.reward, ["9+9="], ["18"], {"answer": ["18"]}).values == [1]


def test_examples_that_end_are_the_users_mistake(riddles):
    streams = Streams(build_task(f"{riddles}.Riddles"), 0)
    assert streams.draw(2)[0] == 0
    with pytest.raises(ConfigError, match=r"task `riddles` ended after 3 examples"):
        streams.draw(2)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("riddles_task.Ridles", {}, "did you mean `Riddles`"),
        ("riddles_task.Riddles", {"levle": 2}, "did you mean `level`"),
        ("riddles_task.Nameless", {}, "a task needs `name`, `fingerprint`, `reward`, `held_out`"),
        ("riddles_task.Broken", {}, "give maspo_dsl.trainers.tasks.Example objects"),
        ("riddles_task.Failing", {}, r"failed: KeyError: 'no data' \(.*riddles_task\.py:27\)"),
        ("riddles_task.CONSTANT", {}, "is a int, not a class"),
        ("no_such_module.Task", {}, "there is no module `no_such_module`"),
    ],
)
def test_a_class_that_is_no_task(riddles, path, options, message):
    with pytest.raises(ConfigError, match=message):
        build_task(path, **options)
