"""Bugs that objectives have had elsewhere, each as a test of every shipped objective to which it can happen."""
