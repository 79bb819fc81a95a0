"""What is asked of arrays before a loop runs over their memory.

In the order of reading: `layout` (how an array lies in memory), `scalars` (arrays without axes), `checks` (what entry
points require), `axes` (walking any strides), `image_layout` (channels first or last), `copying`,
`buffers` (what goes into a captured step, and comes out).
"""
