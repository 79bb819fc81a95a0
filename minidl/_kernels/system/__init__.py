"""What the runtime needs of the operating system.

`platform`, in C, for the thread pool: atomic words, sleeping and waking, starting threads, signals, forks. `pages`, in
C: memory. `limits`, in Python: how many processors and how much memory this process may use.
"""
