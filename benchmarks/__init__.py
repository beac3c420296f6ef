"""Side by side with what a user would take instead, and with the floor."""
