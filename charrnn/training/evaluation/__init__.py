"""Validation loss, softmax temperature and dynamic evaluation."""
