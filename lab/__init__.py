"""A miniature world and the models that live in it, built from a seed by the host's and open_clip's own classes."""
