"""Text to tree and back: source, parser, tree, formatter, diagnostics."""
