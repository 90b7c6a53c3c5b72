"""`python -m denken` is `denken`."""

from denken.cli import main

main()
