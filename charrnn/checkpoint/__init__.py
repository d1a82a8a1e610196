"""The one-file checkpoint format, and a reader that trusts nothing in a file."""
