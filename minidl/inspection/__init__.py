"""Seeing inside: `md.summary`, what a model consists of and costs; `md.profile`, where the time goes."""
