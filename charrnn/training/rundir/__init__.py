"""A run's folder: directory, discovery, lock, metrics log and model card. Torch-free."""
