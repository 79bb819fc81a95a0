"""Files of arrays: what `md.save`, `md.load` and a parameter's `weight="file.npy"` read and write.

In the order of reading: `saving` (save and load), `safetensors` and `npz` (one format each), `files` (writing whole
or not at all; what files may claim), `state` (the dict that is saved). `dlpack` has no files: arrays of other libraries
are taken over in memory.
"""
