"""What fits a MODEL, among the user's files."""
