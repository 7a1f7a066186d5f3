"""Adapters in the host's memory and folders."""
