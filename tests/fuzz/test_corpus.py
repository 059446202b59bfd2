"""What fuzzing has found, once more: inputs that reach what no other reaches, and those that broke something."""

from pathlib import Path

import pytest

from .inputs import CORPUS, corpus, dictionary, seeds
from .target import examine

PARTS = 8


def test_the_corpus_is_small():
    assert len(corpus()) > 100
    assert CORPUS.stat().st_size < 300_000
    assert sorted(path.name for path in Path(CORPUS.parent).iterdir()) == [CORPUS.name]


def test_there_is_something_to_start_from():
    assert len(list(seeds())) > 200
    assert {"objective ", "quantile ", "clip "} <= set(dictionary())


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(part, marks=pytest.mark.slow) for part in range(1, PARTS))]
)
def test_nothing_breaks_again(part):
    for content in corpus()[part::PARTS]:
        examine(content)
