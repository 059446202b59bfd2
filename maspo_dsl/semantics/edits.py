"""Edits of a flat spec: drop, before, after, swap. A target is a part, a `let` with a neutral, or a stage of a pipe."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from typing import Any

from maspo_dsl.language import tree
from maspo_dsl.language.diagnostics import did_you_mean
from maspo_dsl.semantics.collector import DiagnosticCollector
from maspo_dsl.semantics.flat import NONE, Flat
from maspo_dsl.semantics.part_words import SLOTS


@dataclass(frozen=True)
class Target:
    """Something that an edit can name: `owner.name` says exactly what, `name` alone if that is enough.

    `family` is `param`, `let`, `slot`, `part` or `stage`; `key` finds the statement, `index` the stage.
    """

    family: str
    owner: str
    name: str
    key: tuple[str, str]
    index: int = -1

    @property
    def path(self) -> str:
        """The unambiguous path."""
        return f"{self.owner}.{self.name}" if self.owner else self.name

    @property
    def word(self) -> str:
        """The word of the part that it is or stands in; `let` or `param` for what is no part."""
        family, name = self.key
        return name if family == "slot" else family


def targets(flat: Flat) -> Iterator[Target]:
    """Everything that an edit of this spec can name."""
    for name in flat.params:
        yield Target("param", "param", name, ("param", name))
    for name, let in flat.lets.items():
        yield Target("let", "let", name, ("let", name))
        yield from _stages(name, let.value, ("let", name))
    for name, slot in flat.slots.items():
        yield Target("slot", "", name, ("slot", name))
        yield from _stages(name, slot.value, ("slot", name))
    for (kind, name), part in flat.parts.items():
        yield Target("part", kind, name, (kind, name))
        if isinstance(part, tree.Part):
            yield from _stages(name, part.value, (kind, name))


def _stages(owner: str, value: tree.Expression, key: tuple[str, str]) -> Iterator[Target]:
    if isinstance(value, tree.Pipe):
        for index, stage in enumerate(value.stages):
            yield Target("stage", owner, stage.name, key, index)


def find(flat: Flat, name: tree.Name, report: DiagnosticCollector, *, stages_only: bool) -> Target | None:
    """The one target that a name means; none or several is a mistake."""
    everything = list(targets(flat))
    droppable = [t for t in everything if t.family != "param"]
    wanted = [t for t in droppable if not stages_only or t.family == "stage"]
    matches = [t for t in wanted if name.text in (t.name, t.path)]
    if len(matches) == 1:
        return matches[0]
    if len(matches) > 1 and len({match.path for match in matches}) > 1:
        paths = ", ".join(match.path for match in matches)
        report.error(
            "ambiguous-target",
            f"`{name.text}` is the name of {len(matches)} things",
            name.span,
            f"say which: {paths}",
        )
        return None
    if matches:
        hint = "give the stages names of their own with `as`"
        report.error(
            "ambiguous-target", f"`{name.text}` is the name of {len(matches)} stages", name.span, hint
        )
        return None
    part = any(name.text in (t.name, t.path) for t in droppable)
    if not part and any(name.text in (t.name, t.path) for t in everything if t.family == "param"):
        hint = f"give it another value: param {name.path[-1]} = …"
        report.error("not-droppable", f"`{name.text}` is a parameter, not a part", name.span, hint)
    elif not part and name.text in flat.scopes:
        message = f"`{name.text}` is a scope, not a part"
        report.error("not-droppable", message, name.span, f"write it again: scope {name.text} by …")
    elif part:
        report.error(
            "not-a-stage",
            f"`{name.text}` is not a stage of a pipe",
            name.span,
            "to replace a part, write it again",
        )
    else:
        known = [t.name for t in wanted] + [t.path for t in wanted if "." in name.text]
        what = "stage" if stages_only else "part"
        report.error(
            "unknown-target", f"no {what} is named `{name.text}`", name.span, did_you_mean(name.text, known)
        )
    return None


def neutral_targets(flat: Flat, used: Collection[str]) -> Iterator[Target]:
    """Everything that has a neutral value, but for a `let` that nothing uses."""
    for target in targets(flat):
        family, name = target.key
        if _has_neutral(flat, target) and (family != "let" or name in used):
            yield target


def _has_neutral(flat: Flat, target: Target) -> bool:
    match target.family:
        case "param":
            return False
        case "let":
            return flat.lets[target.name].neutral is not None
        case "slot":
            return SLOTS[target.name].neutral is not None
    return True


def drop(flat: Flat, name: tree.Name, report: DiagnosticCollector) -> None:
    """Give the named part its neutral value."""
    target = find(flat, name, report, stages_only=False)
    if target is None:
        return
    if _has_neutral(flat, target):
        remove(flat, target)
    elif target.family == "slot" and SLOTS[target.name].none:
        slot = flat.slots[target.name]
        flat.slots[target.name] = replace(slot, value=tree.Name((NONE,), slot.value.span))
    elif target.family == "let":
        message = f"`{target.name}` has no neutral value; it cannot be dropped"
        report.error("no-neutral", message, name.span, "give the `let` a neutral value, or write it again")
    else:
        message = f"`{target.name}` has no neutral; it cannot be dropped"
        report.error("no-neutral", message, name.span, "replace it: write it again")


def remove(flat: Flat, target: Target) -> None:
    """Give a target that has a neutral value this value, in place."""
    match target.family:
        case "stage":
            _rewrite_stages(flat, target, lambda _: ())
        case "let":
            let = flat.lets[target.name]
            assert let.neutral is not None
            flat.lets[target.name] = replace(let, value=let.neutral)
        case "slot":
            del flat.slots[target.name]
        case _:
            part = flat.parts.pop(target.key)
            if isinstance(part, tree.Part) and part.kept is not None:
                flat.lets[target.name] = tree.Let(part.name, part.kept.start, None, part.span)


def insert(flat: Flat, edit: tree.Insert, report: DiagnosticCollector) -> None:
    """Stages before or after a stage."""
    if (target := find(flat, edit.target, report, stages_only=True)) is None:
        return
    before = edit.side == "before"
    _rewrite_stages(flat, target, lambda stage: (*edit.stages, stage) if before else (stage, *edit.stages))


def swap(flat: Flat, edit: tree.Swap, report: DiagnosticCollector) -> None:
    """Other stages in place of one, under their own names."""
    if (target := find(flat, edit.target, report, stages_only=True)) is None:
        return
    _rewrite_stages(flat, target, lambda _: edit.stages)


def _rewrite_stages(flat: Flat, target: Target, new: Callable[[tree.Stage], tuple[tree.Stage, ...]]) -> None:
    statements, key = _home(flat, target.key)
    statement = statements[key]
    pipe = statement.value
    stages = pipe.stages[: target.index] + new(pipe.stages[target.index]) + pipe.stages[target.index + 1 :]
    statements[key] = replace(statement, value=replace(pipe, stages=stages) if stages else pipe.head)


def statement_of(flat: Flat, key: tuple[str, str]) -> tree.Let | tree.Slot | tree.Part:
    """What holds the pipe of a stage, by the stage's key."""
    statements, name = _home(flat, key)
    statement: tree.Let | tree.Slot | tree.Part = statements[name]
    return statement


def _home(flat: Flat, key: tuple[str, str]) -> tuple[dict[Any, Any], str | tuple[str, str]]:
    """The statements of a family, and what one is called among them."""
    family, name = key
    if family in ("let", "slot"):
        return (flat.lets if family == "let" else flat.slots), name
    return flat.parts, key
