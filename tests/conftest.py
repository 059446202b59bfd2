"""Tests work on tensors of a hundred numbers, where a second thread costs more than it gives."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
