"""The command line: one module a command, and nothing heavy imported before a command needs it."""

from __future__ import annotations

import gc
import sys

# Most commands end before there is garbage: looking for some after every 700 objects takes a tenth of their time.
_OBJECTS_BETWEEN_LOOKS = 200_000


def main() -> None:
    """Run the command line; exits with 0 fine, 1 a check or a run failed, 2 wrong usage or input, 130 interrupted."""
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS)
    try:
        from maspo_dsl.cli.quick import quick_check
        from maspo_dsl.cli.streams import answering_streams

        with answering_streams():
            if quick_check(sys.argv[1:]):
                return
            from maspo_dsl.cli.app import app

            app(prog_name="maspo-dsl")
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        # Else the interpreter looks through every object again before it ends. Libraries that torch loads report
        # what is not looked through as leaked.
        if "torch" not in sys.modules:
            gc.freeze()
