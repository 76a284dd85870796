"""SignalR's wire: what a client says and what it is answered, without a socket."""
