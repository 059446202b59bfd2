"""The library in the language."""
