"""Where a request runs: the engines there are, and the choice among them."""
