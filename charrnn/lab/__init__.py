"""The experiments of the lecture notes: gradients by hand, gradient flow, and cells compared."""
