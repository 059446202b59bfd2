"""What holds for every test, however the tests were started."""

import os
import signal

# Tests work on tensors of a hundred numbers, where a second thread costs more than it gives.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What a shell starts in the background, as a container or nohup may, ignores Ctrl-C, and so do its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
