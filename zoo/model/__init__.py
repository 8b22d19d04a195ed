"""One paper a file: networks, players, algorithm."""
