"""The training loop: trainer, optimizer, schedule, batches, checkpointing, resume."""
