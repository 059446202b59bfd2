"""Every objective that has a reference, by the name of its spec."""

from . import (
    balanced,
    baselines,
    clips,
    compositions,
    corrections,
    credit,
    dapo,
    fitted,
    gates,
    grpo,
    masks,
    maspo,
    normalizers,
    recipes,
    scores,
    sequences,
    streams,
)
from .reference import Reference

FAMILIES = (
    grpo,
    dapo,
    maspo,
    clips,
    scores,
    balanced,
    gates,
    sequences,
    baselines,
    masks,
    corrections,
    compositions,
    normalizers,
    recipes,
    fitted,
    streams,
    credit,
)

REFERENCES: dict[str, Reference] = {
    name: reference for family in FAMILIES for name, reference in family.REFERENCES.items()
}
