"""Rows of a rollout: joined, chosen, cut."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from maspo_dsl.trainers.rows import Rows, choose, cut, join, micro_batch


def rows(lengths, prompt, group=0, columns=None):
    """Rows with the given completion lengths; token values tell where they came from."""
    columns = columns or max(lengths)
    mask = torch.arange(columns) < torch.tensor(lengths)[:, None]
    tokens = torch.cat([torch.full((len(lengths), prompt), 7), mask.long() * 9], dim=1)
    attention = torch.cat([torch.ones(len(lengths), prompt, dtype=torch.bool), mask], dim=1)
    ids = torch.full((len(lengths),), group)
    batch = {
        "mask": mask,
        "group": ids,
        "reward": torch.arange(len(lengths)).float(),
        "logp_old": mask * -0.5,
    }
    texts = [f"{group}-{i}" for i in range(len(lengths))]
    return Rows(tokens, attention, batch, texts, texts)


def test_joining_pads_prompts_on_the_left_and_completions_on_the_right():
    joined = join([rows([1, 2], 3, group=1), rows([4], 5, group=2)])
    assert joined.tokens.tolist() == [
        [0, 0, 7, 7, 7, 9, 0, 0, 0],
        [0, 0, 7, 7, 7, 9, 9, 0, 0],
        [7, 7, 7, 7, 7, 9, 9, 9, 9],
    ]
    assert joined.attention.sum(dim=1).tolist() == [4, 5, 9]
    assert joined.batch["mask"].dtype == torch.bool
    assert joined.batch["mask"].sum(dim=1).tolist() == [1, 2, 4]
    assert joined.batch["logp_old"].sum(dim=1).tolist() == [-0.5, -1.0, -2.0]
    assert joined.batch["group"].tolist() == [1, 1, 2]


def test_choosing_keeps_rows_together():
    chosen = choose(rows([1, 2, 3], 2), torch.tensor([True, False, True]))
    assert (len(chosen), chosen.texts, chosen.batch["reward"].tolist()) == (2, ["0-0", "0-2"], [0.0, 2.0])
    assert len(choose(rows([1], 2), torch.tensor([False]))) == 0


def test_a_micro_batch_leaves_out_columns_that_are_padding_in_all_its_rows():
    part = micro_batch(rows([1, 2, 4], 3), torch.tensor([1, 0]))
    assert part["mask"].shape == part["logp_old"].shape == (2, 2)
    assert part["tokens"].tolist() == [[7, 7, 7, 9, 9], [7, 7, 7, 9, 0]]
    assert part["reward"].tolist() == [1.0, 0.0]
    assert micro_batch(rows([0, 0], 3, columns=5), torch.tensor([0]))["mask"].shape == (1, 1)


@given(
    group=st.lists(st.integers(0, 9), min_size=1, max_size=40),
    windows=st.integers(1, 6),
    micro_batches=st.integers(1, 5),
    seed=st.integers(0, 100),
)
def test_every_row_is_in_one_micro_batch_and_no_group_in_two_windows(group, windows, micro_batches, seed):
    group = torch.tensor(group)
    cuts = cut(group, windows, micro_batches, torch.Generator().manual_seed(seed))
    flat = [int(i) for parts in cuts for part in parts for i in part]
    assert sorted(flat) == list(range(len(group)))
    assert len(cuts) == min(windows, len(group.unique()))
    assert all(1 <= len(parts) <= micro_batches for parts in cuts)
    seen = [{int(group[i]) for part in parts for i in part} for parts in cuts]
    assert sum(len(ids) for ids in seen) == len(group.unique())
    sizes = [len(ids) for ids in seen]
    assert max(sizes) - min(sizes) <= 1


def test_the_order_is_the_seed_s():
    def order(seed):
        return torch.cat(cut(torch.arange(32), 1, 1, torch.Generator().manual_seed(seed))[0]).tolist()

    assert order(1) == order(1) != order(2)


@pytest.mark.parametrize("micro_batches", [1, 2, 3, 8])
def test_a_group_stays_whole_where_there_are_groups_enough(micro_batches):
    group = torch.arange(8).repeat_interleave(3)
    for part in cut(group, 1, micro_batches, torch.Generator().manual_seed(0))[0]:
        assert len(part) == 3 * len(group[part].unique())
