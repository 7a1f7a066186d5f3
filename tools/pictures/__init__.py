"""The pictures of README and docs, drawn with the laboratory's models: `python -m tools.pictures`."""
