"""Training in a graph, and over the host's models."""
