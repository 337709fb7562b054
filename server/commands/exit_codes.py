"""What the command line's exit codes mean; 0 is success."""

FAILED = 1
WRONG_USAGE = 2
