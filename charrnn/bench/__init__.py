"""Speed here, against a plain reference and the machine's own ceiling, all in one run."""
