"""Every objective that has a reference, by the name of its spec."""

from . import dapo, grpo, maspo
from .reference import Reference

FAMILIES = (dapo, grpo, maspo)

REFERENCES: dict[str, Reference] = {
    name: reference for family in FAMILIES for name, reference in family.REFERENCES.items()
}
