"""Training: the paper's loss, its drops and its initialisation, in plain torch."""
