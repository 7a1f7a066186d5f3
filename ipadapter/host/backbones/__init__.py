"""The host's models."""
