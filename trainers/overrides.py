"""`key=value` overrides read as data: every mistake of a command line, each with the nearest known key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from omegaconf import OmegaConf

from maspo_dsl.language.diagnostics import nearest

Tree: TypeAlias = "dict[str, object]"

# What other trainers call our keys.
SYNONYMS = {
    "lr": "trainer.learning_rate",
    "steps": "trainer.max_steps",
    "epochs": "trainer.max_steps",
    "batch_size": "rollout.prompts",
    "group_size": "rollout.samples",
    "num_generations": "rollout.samples",
    "max_completion_length": "rollout.max_new_tokens",
    "num_iterations": "trainer.updates_per_rollout",
    "gradient_accumulation_steps": "trainer.micro_batches",
    "max_grad_norm": "trainer.gradient_clip",
    "dataset": "task",
    "output_dir": "run",
}


_WHOLE = (
    "completions are drawn from the whole distribution, at `rollout.temperature`: that is what each log-prob is "
    "of, and one of a distribution that was cut or penalised would be another"
)
# What others set of sampling, and why it is no key here.
REFUSED = dict.fromkeys(("top_p", "top_k", "min_p", "typical_p", "repetition_penalty"), _WHOLE)


@dataclass(frozen=True)
class Keys:
    """The keys that exist: full paths, blocks that take any key, and paths whose values stay text."""

    paths: frozenset[str]
    open_blocks: frozenset[str]
    text: frozenset[str]

    def __contains__(self, path: str) -> bool:
        """Whether a value may be given for this path."""
        block, dot, name = path.partition(".")
        return path in self.paths or bool(dot and name and block in self.open_blocks)

    def is_block(self, path: str) -> bool:
        """Whether the path holds keys and takes no value itself."""
        return path in self.open_blocks or bool(self.within(path))

    def within(self, block: str) -> list[str]:
        """The full paths of a block."""
        return sorted(path for path in self.paths if path.startswith(f"{block}."))


def read_overrides(overrides: Sequence[str], keys: Keys) -> tuple[Tree, list[str]]:
    """The values by full path, and one sentence a mistake; together they account for every override."""
    values: Tree = {}
    mistakes: list[str] = []
    for override in overrides:
        found, wrong = _read_one(override, keys)
        mistakes += wrong
        mistakes += [f"`{path}` is given twice; keep one of the two" for path in found if path in values]
        values.update(found)
    return values, mistakes


def nested(values: Mapping[str, object]) -> Tree:
    """Values by dotted path as nested dictionaries."""
    tree: Tree = {}
    for path, value in values.items():
        *blocks, leaf = path.split(".")
        block = tree
        for name in blocks:
            inner = block.setdefault(name, {})
            assert isinstance(inner, dict)
            block = inner
        block[leaf] = value
    return tree


def flat(tree: Mapping[str, object], prefix: str = "") -> Tree:
    """Nested dictionaries as values by dotted path; the inverse of `nested`, but empty blocks vanish."""
    values: Tree = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            values.update(flat(value, f"{prefix}{name}."))
        else:
            values[f"{prefix}{name}"] = value
    return values


def unknown_key(path: str, keys: Keys, value: str = "…") -> str:
    """The sentence for a key that does not exist: where it belongs, or what it resembles."""
    leaf = path.rsplit(".", 1)[-1]
    if leaf in REFUSED:
        return f"there is no key `{path}`: {REFUSED[leaf]}"
    homes = sorted(known for known in keys.paths if known.rsplit(".", 1)[-1] == leaf and known != leaf)
    home = homes[0] if homes else SYNONYMS.get(leaf) or (leaf if leaf in keys.paths else None)
    if home:
        own = f"; a parameter of the objective is `params.{path}={value}`" if "." not in path else ""
        return f"there is no key `{path}`; write `{home}={value}`{own}"
    leaves = {known.rsplit(".", 1)[-1]: known for known in sorted(keys.paths)}
    # Closer than a name needs to be: what is far from every key may be a parameter of the objective.
    match = nearest(leaf, leaves, closeness=0.7)
    parts = [f"there is no key `{path}`"]
    if match:
        parts.append(f"did you mean `{leaves[match]}`?")
    elif "." in path and keys.within(path.split(".")[0]):
        parts.append(f"its block has {', '.join(keys.within(path.split('.')[0]))}")
    elif "." not in path:
        parts.append(f"a parameter of the objective is written `params.{path}={value}`")
    else:
        parts.append(
            f"keys are {', '.join(sorted(keys.paths))}, and params.NAME, task_options.NAME and teacher.NAME"
        )
    return "; ".join(parts)


def _read_one(override: str, keys: Keys) -> tuple[Tree, list[str]]:
    """The values that one override gives by path, and the sentences that say what is wrong with it."""
    path, equals, text = override.partition("=")
    if override.startswith("~"):
        return {}, [f"`{override}`: a key cannot be removed; leave it out"]
    if override.startswith(("-", "+")):
        return {}, [f"`{override}`: overrides are written `key=value`, with nothing in front of the key"]
    if not equals:
        example = f"{path}=…" if path in keys else "trainer.max_steps=100"
        return {}, [f"`{override}` has no `=`; write `key=value`, as in `{example}`"]
    if path != path.strip() or not path:
        return {}, [f"`{override}`: no spaces around `=`, and a key before it"]
    if not text.strip():
        return {}, [f"`{override}`: a value is missing after `=`"]
    try:
        value = _value(text, as_text=path in keys.text)
    except Exception as error:  # a value fails in as many ways as YAML has
        return {}, [f"`{override}`: the value cannot be read ({str(error).splitlines()[0]})"]
    found = flat(value, f"{path}.") if isinstance(value, Mapping) else {path: value}
    return {key: found[key] for key in found if key in keys}, [
        _not_a_value(key, keys, str(found[key])) for key in found if key not in keys
    ]


def _not_a_value(path: str, keys: Keys, value: str) -> str:
    """The sentence for a path that takes no value: it is unknown, or a block."""
    if not keys.is_block(path):
        return unknown_key(path, keys, value)
    within = keys.within(path)
    listed = f"; its keys are {', '.join(within)}" if within else ""
    return f"`{path}` is a block of keys; write `{path}.KEY={value}`{listed}"


def _value(text: str, as_text: bool) -> object:
    """A value as omegaconf reads it, interpolations resolved; the value of a text key stays text."""
    if as_text and text != "null":
        tree = OmegaConf.create({"value": text})
    else:
        tree = OmegaConf.from_dotlist([f"value={text}"])
    plain = OmegaConf.to_container(tree, resolve=True)
    assert isinstance(plain, dict)
    return plain["value"]
