"""Sampling and scoring: filters, draws, engines, stop texts. Never imports torch."""
