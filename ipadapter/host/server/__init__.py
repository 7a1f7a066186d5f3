"""What the pack adds to the host's server."""
