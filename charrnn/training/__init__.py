"""Training: recipes, the schedule, one step, the loop around it, and evaluation."""
