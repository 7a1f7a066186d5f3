"""Image prompts in the user's folders."""
