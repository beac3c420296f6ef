"""What is recorded from the validation loop's own forward passes."""
