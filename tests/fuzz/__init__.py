"""Coverage-guided fuzzing of everything between the bytes of a file and its graph.

`make fuzz` runs it for ten minutes; `test_corpus.py` replays what it has found.
"""
