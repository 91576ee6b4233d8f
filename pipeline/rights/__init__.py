"""Who may do what on the brokers: a table of roles, made from the topology (decision 027).

Lives here: what a right is, and each role's rights. Pure; `agents/acls.py` brings them onto a broker.
"""

from pipeline.rights.right import Operation, Resource, Right
from pipeline.rights.roles import Role, rights_of

__all__ = ["Operation", "Resource", "Right", "Role", "rights_of"]
