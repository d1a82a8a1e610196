"""Text out: distributions, draws, the fast CPU engine and scoring. Never imports torch."""
