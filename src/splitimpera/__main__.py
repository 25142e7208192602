"""`python -m splitimpera`."""

from splitimpera.cli import main

if __name__ == "__main__":
    main()
