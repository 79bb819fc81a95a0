"""Training on several processes, and machines: data parallel over MPI, with the same bits for any number of ranks.

In the order of reading: `ranks` (the world, and how its ranks wait for each other), `messages`, `faults` (what ends a
job), `tree` (the order of additions), `reduction` (sums over all ranks), `flat` (all gradients end to end), `states`
(what else a shard changes), `parallel` (a step), `together` (BatchNorm over the whole batch). docs/distributed.md is
the user's guide.
"""

from minidl.distributed.faults import RankError
from minidl.distributed.parallel import DataParallel
from minidl.distributed.ranks import World, world

__all__ = ["DataParallel", "RankError", "World", "world"]
