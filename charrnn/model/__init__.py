"""The torch network: the recurrent stack, flat parameters, and fast training kernels."""
