"""Benchmarks against plain torch loops and the hardware's limit, measured in one run."""
