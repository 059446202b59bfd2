"""What speed and memory cost, beside a peer or a physical limit measured in the same process: python -m benchmarks."""
