"""Tools for working on the pack: its environment, stand-in models, a real server and a client of it."""
