"""Two losses on the same batches: specs, settings of other trainers, functions of Python."""
