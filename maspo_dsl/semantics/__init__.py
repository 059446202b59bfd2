"""Tree to objective: inheritance, edits, values, types, warnings, hash."""
