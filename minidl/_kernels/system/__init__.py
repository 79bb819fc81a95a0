"""What the runtime needs of the operating system, in C.

`platform`, for the thread pool: atomic words, sleeping and waking, starting threads, signals, forks. `pages`: memory.
`limits`, in Python: how many processors and how much memory this process may use.
"""
