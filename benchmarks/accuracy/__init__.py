"""What ulp.py is made of. In the order of reading: `definitions` (the functions), `numbers` (what they are tried on),
`truth` (their true values), `compare`, `kept` (what was found before), `page` (docs/accuracy.md)."""
