"""The one-file checkpoint format and its distrustful reader."""
