"""Run by torchrun with two processes: both trainers take the same steps."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.hosts.test_trl import LOSSES, agree, spec
from tests.hosts.tiny_trl import trained


def main():
    where, rank = Path(sys.argv[1]), os.environ["RANK"]
    for name in ("dapo", "k3"):
        lines, settings = LOSSES[name]
        options = {"gradient_accumulation_steps": 2, "num_iterations": 2, "per_device_train_batch_size": 2}
        theirs = trained(where / name / "theirs", **settings, **options)
        mine = trained(where / name / "mine", spec(lines), **options)
        agree(mine, theirs)
        metrics = [row for row in mine.state.log_history if "objective/loss" in row]
        for row in metrics:  # pooled over ranks: what is logged as the loss, and not the half of one rank
            assert abs(row["objective/loss"] - row["loss"]) < 1e-4, row
    print(f"agree on rank {rank}", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
