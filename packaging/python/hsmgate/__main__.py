"""`python -m hsmgate` is the program."""

from hsmgate import main

main()
