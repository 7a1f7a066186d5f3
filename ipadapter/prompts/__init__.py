"""Image prompts: what images say to a model, combined, placed and kept."""
