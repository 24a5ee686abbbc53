"""What trained networks answer to images, the metrics of a triple, and the claims judged over seeds.

Imports the method, the study's parameters, `p2p.data` and `p2p.training`. `runs.load_run` is the entrance; it is not
imported here, for whoever draws a table needs no trainer and should not wait for one.
"""
