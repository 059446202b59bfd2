"""Reading a grid: numbers with intervals, curves with bands, and no winner that the numbers do not support."""
