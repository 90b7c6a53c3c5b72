"""What runs it: many requests at once through one model. Knows ids; knows nothing of text, HTTP or training."""
