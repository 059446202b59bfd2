"""Objective to graph, passes over it, and the float64 oracle."""
