"""What is measured with all of it: ablations, the paper's tables made again, benchmarks."""
