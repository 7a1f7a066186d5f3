"""An adapter: what a file turns out to be, its modules, and what it reads of an image prompt."""
