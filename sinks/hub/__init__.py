"""The SignalR hub: prices as they are routed, to any number of browsers."""
