"""``python -m hoyer_search``, the same as ``hoyer-search``."""

from hoyer_search.cli import main

main()
