"""One module per group of addresses; `app` includes their routers.

health     alive, ready, metrics
files      uploads
runs       files of the landing folder; builds
jobs       what is going on
page       the page for people, which is in the folder page/ of the package
marts      results, and what was rejected or noticed
loads      the ledger
"""

from __future__ import annotations
