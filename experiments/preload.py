"""What the fork server imports once, so that no run has to; what can't be imported, the runs that need it report."""

import contextlib

from runner import startup

# torch._dynamo takes a second of the first optimiser's.
MODULES = ["datasets", "utils", "experiments.engines", "runner.step", "runner.run"]
MODULES += ["torch.optim", "torch._dynamo", "matplotlib.figure", "torchsummary"]

startup.prepare()
for name in MODULES:
    with contextlib.suppress(Exception):
        __import__(name)
