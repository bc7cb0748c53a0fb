"""``python -m tl_negation`` is the command ``tl-negation``."""

from .cli import main

if __name__ == "__main__":
    main()
