"""Image encoders that the host does not load, built from their tensors."""
