"""What a user's folders hold, what is published, and which file fits."""
