"""From a checkout to a server: what `inv deploy` and its companions are made of."""
