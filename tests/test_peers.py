"""What `differs` says of other trainers names their options as they are: read in them, where they are installed.

Only text is read and nothing imported, so a package without what it needs is enough: `make full ARGS=peers` installs
them so.
"""

import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, files, version

import pytest

import maspo_dsl
from maspo_dsl.semantics.shipped import library_definitions

from .loading import objective

PEERS = {"TRL": "trl", "verl": "verl", "OpenRLHF": "openrlhf", "Liger": "liger_kernel"}
"""Who a line is about, and the distribution that it is of."""
WITHOUT_UNDERSCORE = {"beta", "delta", "epsilon"}
"""Options that look like words."""
PROSE = {"low_high"}
"""What looks like an option in these lines and is none: two thresholds as one text, say."""


def named(who: str) -> Iterator[tuple[str, str]]:
    """The peers of a line, each with the version that it speaks of."""
    for peer in PEERS:
        found = re.search(rf"\b{peer} (\d+(?:\.\d+)+)", who)
        if found:
            yield peer, found[1]


def words(text: str) -> set[str]:
    """What in a line must be a name of the peer: written with `_`, or known to be an option; not ours."""
    ours = {*maspo_dsl.shipped(), *library_definitions()}
    found = set(re.findall(r"(?<![\w.])[a-z]+(?:_[a-z0-9]+)+(?!\w)", text))
    return {word for word in found - ours if word not in PROSE} | (set(text.split()) & WITHOUT_UNDERSCORE)


def lines() -> Iterator[tuple[str, str, str, str]]:
    """Objective, peer, its version, and the option: for each that a line names."""
    for name in maspo_dsl.shipped():
        own = set(objective(name).resolved.flat.params)
        for line in objective(name).resolved.differs:
            who, _, text = line.partition(": ")
            for peer, at in named(who):
                yield from ((name, peer, at, word) for word in sorted(words(text) - own))


LINES = list(lines())


@cache
def text_of(distribution: str) -> str:
    """All Python and YAML of an installed package."""
    parts = [path for path in files(distribution) or () if path.suffix in (".py", ".yaml")]
    return "\n".join(path.read_text(encoding="utf-8") for path in parts)


def test_options_are_found_in_these_lines():
    """Several of TRL and of verl: the pattern finds what a reader would look for."""
    found = {(peer, word) for _, peer, _, word in LINES}
    assert {("TRL", "loss_type"), ("TRL", "off_policy_mask_threshold"), ("verl", "clip_ratio_low")} <= found
    assert words("delta is 0.5; rollout_is of dapo, as in tis_product") == {"delta", "rollout_is"}


@pytest.mark.parametrize(("name", "peer", "at", "word"), LINES, ids=lambda value: str(value))
def test_an_option_is_called_so(name, peer, at, word):
    try:
        installed = version(PEERS[peer])
    except PackageNotFoundError:
        pytest.skip(f"{peer} is not installed")
    if installed != at:
        pytest.skip(f"{peer} {installed} is installed, and {name} speaks of {at}")
    assert re.search(rf"\b{word}\b", text_of(PEERS[peer])), f"{name}: {peer} {at} has no {word}"
