"""What a page asks of the compiler: text and numbers in, JSON out."""
