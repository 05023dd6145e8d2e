"""What scheduled evaluations found, day by day, and where that is kept."""
