"""Arrays to pictures, uint8 RGB (H, W, 3); never a model."""
