"""Training from the command line: `python -m ipadapter.train CONFIG.toml`, on accelerate, in one process or many."""
