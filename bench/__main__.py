"""`python -m bench ...` is the command `memcap ...`."""

from bench.commands.main import main

if __name__ == "__main__":
    main()
