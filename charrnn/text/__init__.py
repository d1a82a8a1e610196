"""Text in: characters to ids, corpora to memory-mapped files, ids to training windows."""
