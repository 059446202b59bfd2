"""Pictures of objectives, and how every figure looks; matplotlib is imported by what draws."""
