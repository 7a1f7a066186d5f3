"""An image prompt in the host's sampling."""
