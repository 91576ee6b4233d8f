"""Secrets of jobs: named by reference wherever a job is written down, and known only where its command runs.

Lives here: what a reference is (`reference`), who may have which secret and where it is (`vault`), and what is
shown in its place (`mask`). Imports nothing else of the project.
"""

from pipeline.secrets.mask import Mask, Masking
from pipeline.secrets.reference import named_in, reference_of, variable_of
from pipeline.secrets.vault import Given, SecretError, Vault

__all__ = ["Given", "Mask", "Masking", "SecretError", "Vault", "named_in", "reference_of", "variable_of"]
