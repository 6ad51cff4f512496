"""The web page over the engine."""
