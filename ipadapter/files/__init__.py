"""Files of weights and of captions, opened safely and written whole."""
