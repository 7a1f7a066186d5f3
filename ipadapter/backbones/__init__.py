"""The models that adapters are for: where their cross-attention layers are, and what they are called."""
