"""`diff`, `identify` and `verify --against` on the command line; what they find is tested in tests/comparison."""

FUNCTION = """
import torch

def loss(batch):
    ratio = torch.exp(batch["logp"] - batch["logp_old"])
    advantage, mask = batch["advantage"][:, None], batch["mask"]
    return -(torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.28) * advantage) * mask).sum() / mask.sum()
"""


def test_diff_of_two_specs(cli):
    result = cli("diff", "dapo", "grpo")
    assert result.exit_code == 1
    for words in (
        "param eps_high\n  dapo  0.28\n  grpo  0.2\n",
        "A < 0, ratio below 1",
        "the smallest batch",
    ):
        assert words in result.stdout
    assert "grpo notes: TRL 1.16.0: beta is 0 unless set" in result.stdout


def test_diff_of_one_and_the_same(cli, write):
    write("same.obj", "objective same extends grpo\nparam kl = 0.04\n")
    result = cli("diff", "same.obj", "grpo")
    assert result.exit_code == 0 and "same hash" in result.stdout
    result = cli("diff", "trl:loss_type=sapo", "sapo")
    assert result.exit_code == 0


def test_a_function_of_a_module_of_this_folder(cli, write):
    write("my_fork.py", FUNCTION)
    assert cli("diff", "python:my_fork.loss", "dapo").exit_code == 0
    assert cli("verify", "dapo", "--against", "python:my_fork.loss").exit_code == 0
    parted = cli("verify", "dapo", "params.eps_low=0.1", "--against", "python:my_fork.loss")
    assert parted.exit_code == 1 and "A < 0, ratio below 1" in parted.stdout


def test_what_cannot_be_compared(cli, write):
    write("broken_fork.py", "def loss(batch):\n    raise KeyError('x')\n")
    for arguments in (
        ["diff", "dapo", "python:broken_fork.loss"],
        ["diff", "dapo", "python:nowhere.loss"],
        ["diff", "dappo", "grpo"],
        ["diff", "trl:epsilom=1", "grpo"],
        ["identify", "python:broken_fork.loss"],
        ["verify", "dapo", "--against", "python:broken_fork.loss"],
        ["verify", "--all", "--against", "grpo"],
    ):
        result = cli(*arguments)
        assert result.exit_code == 2, arguments
        assert result.stdout == "" and "error" in result.stderr


def test_identify(cli):
    result = cli("identify", "trl:loss_type=sapo")
    assert result.exit_code == 0
    assert "trl_sapo is sapo" in result.stdout and "its advantage is that of group_ppo" in result.stdout
