"""How the store's tables came to be, step by step; `denken.serve.store` takes a database through them."""
