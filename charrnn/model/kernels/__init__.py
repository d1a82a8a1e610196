"""Compiled kernels for fast training; without numba, torch's own operators are used."""
