"""Run the command line: python -m forametric."""

from forametric.cli import main

if __name__ == "__main__":
    main()
