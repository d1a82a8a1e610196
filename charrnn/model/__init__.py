"""The network: one readable time step a cell, the stack, and the fast training path."""
