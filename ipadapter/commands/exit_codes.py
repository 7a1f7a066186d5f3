"""What the commands give back to a shell."""

FAILED = 1
INTERRUPTED = 130  # what shells give a program that Ctrl-C ended
