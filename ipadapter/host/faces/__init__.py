"""InsightFace's models in the user's folders, and the host's pictures read by them."""
