"""Decoupled cross-attention, and the record of where it acted."""
