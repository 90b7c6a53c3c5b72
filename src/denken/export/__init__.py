"""How a model leaves the house: folders and files that other programs open. Knows nothing of HTTP."""
