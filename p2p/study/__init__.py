"""What an experiment is: the parameters of a notebook, the study file, what a step depends on, provenance, page text.

Imports the method's top level only; every other room may import it. Nothing is handed on from here: Snakemake reads
study files many times and must not wait for PyTorch, which provenance needs.
"""
