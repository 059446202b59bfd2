"""Graph to torch: one readable file for one objective."""
