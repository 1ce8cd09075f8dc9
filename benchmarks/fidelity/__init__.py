"""Our numbers and decisions beside those of the peers' own packages: `python -m benchmarks.fidelity`."""
