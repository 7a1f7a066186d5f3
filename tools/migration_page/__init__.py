"""Writes docs/migration.md, in Chinese too, from the rules of the migration: `python -m tools.migration_page`."""
