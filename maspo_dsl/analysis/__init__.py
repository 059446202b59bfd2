"""What can be said of an objective from its graph alone: coupling of tokens, response to the ratio, warnings."""
