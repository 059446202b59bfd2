"""Tree to objective: inheritance, edits, values, types, hash."""
