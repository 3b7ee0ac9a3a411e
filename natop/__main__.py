"""`python -m natop` is `natop`."""

from natop.cli import main

if __name__ == "__main__":
    main()
