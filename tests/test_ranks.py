"""Two processes share a step of some objectives; `make full` shares one of each, in every cut."""

import subprocess
import sys


def test_two_processes_make_the_step_of_one():
    names = ["maspo", "gspo", "stapo"]
    command = [sys.executable, "-m", "tests.ranks", *names, "--cuts", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(names)} objectives on 2 processes, 0 faults" in done.stdout
