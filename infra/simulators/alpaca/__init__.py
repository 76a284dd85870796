"""Alpaca's real-time stock stream, as its documentation and its users describe it.

`session` is the conversation, `wire` the bytes, `tape` what is said; all three without a socket.
`server` puts them on one.
"""
