"""The user's data: the probe, batches, dataloaders and what they know about the images."""
