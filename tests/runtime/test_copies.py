"""A loss and its output in another process, in a file, as a copy."""

import copy
import io
import multiprocessing
import pickle

import pytest
import torch

import maspo_dsl

from ..batches import as_torch, given_advantage


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


COPIES = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "torch.save": saved,
    "deepcopy": copy.deepcopy,
}


def changed():
    """A loss with a parameter that was changed after it was compiled."""
    loss = maspo_dsl.compile("maspo", params={"alpha": 0.4}, backend="eager")
    loss.params["beta_pos"].fill_(0.2)
    loss.head_memory = 1000
    return loss


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_computes_the_same(way):
    loss = changed()
    other = COPIES[way](loss)
    assert other.objective.hash == loss.objective.hash and other.backend == "eager"
    assert other.head_memory == 1000
    batch = as_torch(given_advantage(1))
    before = maspo_dsl.compile("maspo", params={"alpha": 0.4}, backend="eager")(batch).loss
    assert torch.equal(other(batch).loss, loss(batch).loss) and not torch.equal(before, loss(batch).loss)
    other.params["beta_pos"].fill_(0.9)
    assert loss.params["beta_pos"] == 0.2


@pytest.mark.parametrize("way", COPIES)
def test_a_copy_of_an_output_has_its_metrics(way):
    output = changed()(as_torch(given_advantage(1)))
    other = COPIES[way](output)
    assert torch.equal(other.loss, output.loss) and not other.loss.requires_grad
    assert other.metrics == output.metrics and other.nonfinite == output.nonfinite


def test_a_module_that_holds_a_loss_is_copied():
    model = torch.nn.ModuleDict({"loss": changed(), "linear": torch.nn.Linear(2, 2)})
    assert copy.deepcopy(model)["loss"].params["beta_pos"] == 0.2


def test_a_compiled_loss_is_compiled_where_it_arrives():
    loss = maspo_dsl.compile("maspo", backend="aot_eager")
    batch = as_torch(given_advantage(1, extreme=False), torch.float32)
    loss(batch)
    other = pickle.loads(pickle.dumps(loss))
    assert other.backend == "aot_eager" and other.compilations == 0
    torch.testing.assert_close(other(batch).loss, loss(batch).loss)


def computed(loss, batch, found):
    output = loss(batch)
    found.put((output.loss.item(), output.metrics["ess"].item()))


def test_a_spawned_process_gets_one():
    loss, batch = changed(), {name: value.detach() for name, value in as_torch(given_advantage(1)).items()}
    context = multiprocessing.get_context("spawn")
    found = context.SimpleQueue()
    process = context.Process(target=computed, args=(loss, batch, found))
    process.start()
    process.join(timeout=120)
    assert process.exitcode == 0
    assert found.get() == (loss(batch).loss.item(), loss(batch).metrics["ess"].item())


def test_constants_of_a_run():
    loss = maspo_dsl.compile("dr_grpo", run={"generation_limit": 77}, backend="eager")
    assert loss.objective.params["max_length"] == 77
    assert pickle.loads(pickle.dumps(loss)).objective.params["max_length"] == 77
