"""The project's tests. A package, so that tests share `tests.batches` and `tests.reference` by relative import."""
