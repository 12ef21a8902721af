"""`python -m undercroft.launcher`: the command, for a process that starts another one of its kind."""

from undercroft.launcher.main import main

main()
