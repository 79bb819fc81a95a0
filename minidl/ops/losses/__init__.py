"""Losses: those with a kernel (`loss`), those made of other operations (`composed`), and their `weights`."""
