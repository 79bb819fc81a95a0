"""A picture of the graph of a result: `md.draw`."""
