"""Ablations: from one objective, every valid point of a grid; run, and compared."""
