"""What the laboratory shows of the paper's claims: measured, with intervals, and written to docs/evidence.md."""
