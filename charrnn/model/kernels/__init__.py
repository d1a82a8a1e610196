"""Compiled kernels for the fast training path; without numba torch's own operators do."""
