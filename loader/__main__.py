"""`python -m loader` is the command `labmart`."""

from __future__ import annotations

from loader.cli import main

if __name__ == "__main__":
    main()
