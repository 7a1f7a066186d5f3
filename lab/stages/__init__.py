"""What `python -m lab.build` makes, one module a stage."""
