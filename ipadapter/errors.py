"""The one exception the pack raises for what a user gave it."""


class IPAdapterError(ValueError):
    """A sentence for the person at the graph: what was given, what does not fit, what would."""
