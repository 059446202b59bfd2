"""The project's tests: a package, so that they share `batches` and `reference` by relative import."""
