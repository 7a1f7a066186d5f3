"""Image encoders in the host's memory."""
