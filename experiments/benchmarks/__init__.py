"""Speed and memory, measured side by side with what people use otherwise: ``python -m experiments.benchmarks``."""
