"""A captured step: recorded once, replayed without Python. Start at capture.py.

capture.py   `md.capture`: when a call is recorded, and when a record is replayed
record.py    a record: what is done before and after its calls, and what must still hold
watch.py     what Python decided while it was recorded: names, modules, settings
The calls themselves are kept and run by `minidl/_kernels/runtime/prepared.pyx`. docs/capture.md explains all of it.
"""
