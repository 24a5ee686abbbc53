"""Speed beside the classic formulation and beside CaBRNet: same machine, shapes, data and weights, in one run.

`timing` takes turns and keeps the statistics, `classic` and `sets` restate the published way of working plainly,
`cabrnet_peer` drives CaBRNet, `workloads` says what is compared, `end_to_end` trains both to the same accuracy.
Measured in full by `notebooks/09_speed.py`; `python -m benchmarks` repeats a small part of it.
"""
