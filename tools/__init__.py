"""Tools for working on the pack: its environment, stand-in models and a real server."""
