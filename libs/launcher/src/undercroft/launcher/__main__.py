"""`python -m undercroft.launcher`: the command, for a process that starts another one of its kind."""

import sys

from undercroft.launcher.main import main

# As console scripts do. CPython ends a program that merely returns as if by SIGINT when an interrupt once passed
# through `exec` of a text, as in a dataclass that was being imported, even if it was caught since.
main()
sys.exit(0)
