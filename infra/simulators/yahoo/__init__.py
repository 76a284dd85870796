"""Yahoo Finance's undocumented quote endpoints, as their users have found them.

`wire` builds the bodies from the market; `server` answers with them.
"""
