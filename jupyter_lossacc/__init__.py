"""Watch a PyTorch classifier train in a notebook and explain loss against accuracy."""
