"""`make bench`: what an image prompt costs beside the bare model, and beside another pack."""
