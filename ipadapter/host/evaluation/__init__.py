"""The metrics in a graph."""
