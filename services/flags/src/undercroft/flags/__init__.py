"""What is on, for whom."""
