"""ONNX files: models as other runtimes execute them.

Export runs a model and writes down each op that it calls. In the order of reading: `export` (`md.export_onnx`),
`tracing` (what happens while the model runs), `graph` (what is written down; two runs are compared), `rules` and their
relatives for layers, sequences, activations, losses and what is no op (op -> ONNX nodes), `proto` (the file). Import:
`model` (`md.import_onnx`, and the module that runs a file's graph), `operators` and its relatives (ONNX node -> ops).
"""
