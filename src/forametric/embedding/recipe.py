"""Recipes: everything that decides how a model is trained, in one small TOML file each."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from forametric.errors import RecipeError

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(_Part):
    """Backbone by its timm name, then the neck, then embedding and class head.

    neck: `none` (the backbone's features are the embedding), `batchnorm` (BatchNorm and dropout) or
    `hidden` (linear to `hidden_units`, then ReLU, as Karaderi et al. 2022).
    fallback: the backbone taken, with a warning and a note in the model, when the weights of
    `backbone` cannot be had. freeze: share of the backbone's layers, from the pixels on, that keep
    the weights they start with. projection_dim: width of the projection that the metric loss
    trains. whitened_dim: the number of whitened principal components of the neck's features that
    are added to it after training; 0 for none. normalize: L2-normalise the vectors.
    """

    backbone: str
    fallback: str | None = None
    freeze: Annotated[float, Field(ge=0, le=1)] = 0.0
    pretrained: bool = True
    image_size: Annotated[int, Field(ge=32, le=1024)]
    neck: Literal["none", "batchnorm", "hidden"] = "batchnorm"
    hidden_units: Count = 1000
    projection_dim: Annotated[int, Field(ge=0)] = 128
    whitened_dim: Annotated[int, Field(ge=0)] = 0
    normalize: bool = True
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Loss(_Part):
    """Weights of the terms; a term of weight 0 is not computed.

    `margin` is of the triplet loss; the other losses have the settings of their papers.
    """

    cross_entropy: Annotated[float, Field(ge=0)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    metric: Literal[
        "none", "supcon", "triplet", "reciprocal", "multisimilarity", "arcface", "proxyanchor"
    ] = "none"
    metric_weight: Annotated[float, Field(ge=0)] = 0.0
    temperature: Positive = 0.1
    margin: Positive = 0.5


class Sampler(_Part):
    """How batches are drawn.

    `balanced`: `species` species, chance ∝ count ** `power`, `specimens` of each.
    `triplets`: every specimen once as anchor with a positive and a negative; `species` anchors.
    `shuffle`: every specimen once, `species` × `specimens` a batch.
    """

    kind: Literal["balanced", "triplets", "shuffle"] = "balanced"
    species: Count = 8
    specimens: Count = 4
    power: Annotated[float, Field(ge=0, le=1)] = 0.5


class Augment(_Part):
    """Rotation in ± degrees; ranges as (low, high); 1 leaves scale and contrast as they are."""

    rotation: Annotated[float, Field(ge=0, le=180)] = 180.0
    mirror: bool = True
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    contrast: tuple[Positive, Positive] = (1.0, 1.0)
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    blur: tuple[float, float] = (0.0, 0.0)


class Optimiser(_Part):
    """Rates are peaks: `warmup` rises to them over the first share `warmup` of the steps and stays,
    `onecycle` falls from there to zero along a cosine, `constant` has them from the first step.
    """

    kind: Literal["adamw", "sgd"] = "adamw"
    backbone_lr: Positive = 1e-3
    head_lr: Positive = 5e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.0
    schedule: Literal["warmup", "onecycle", "constant"] = "onecycle"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.15
    max_grad_norm: Annotated[float, Field(ge=0)] = 0.0


class Recipe(_Part):
    """One way of training. Built-in ones: `forametric recipes`."""

    name: str
    about: str
    epochs: Annotated[int, Field(ge=0)]
    ema_decay: Annotated[float, Field(ge=0, lt=1)] = 0.0
    tta_views: Literal[1, 4, 8] = 1
    network: Network
    loss: Loss = Loss()
    sampler: Sampler = Sampler()
    augment: Augment = Augment()
    optimiser: Optimiser = Optimiser()

    @classmethod
    def load(cls, name: str | Path, settings: Sequence[str] = ()) -> Recipe:
        """Read a built-in recipe by name, or a TOML file by path, changed by `key=value` settings.

        Raises
        ------
        RecipeError
            For an unknown name, key or value; the message says which are known.

        >>> Recipe.load("default", ["epochs=3", "network.image_size=96"]).network.image_size
        96
        """
        return cls._made(_read(name), name, settings)

    def with_settings(self, settings: Sequence[str]) -> Recipe:
        """This recipe, changed by `key=value` settings; `RecipeError` as in `load`."""
        return self._made(self.model_dump(mode="json"), self.name, settings)

    @classmethod
    def _made(cls, data: dict[str, Any], name: str | Path, settings: Sequence[str]) -> Recipe:
        for setting in settings:
            _set(data, setting)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise RecipeError(f"recipe {name}: {where}: {first['msg']}.") from None


def recipe_table() -> pd.DataFrame:
    """The built-in recipes: recipe, backbone, px, epochs, what it does."""
    recipes = [Recipe.load(name) for name in recipe_names()]
    rows = [(r.name, r.network.backbone, r.network.image_size, r.epochs, r.about) for r in recipes]
    return pd.DataFrame(rows, columns=["recipe", "backbone", "px", "epochs", "what it does"])


def recipe_names() -> list[str]:
    """The built-in recipes."""
    folder = files("forametric.embedding") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith("toml"))


def _read(name: str | Path, below: tuple[str, ...] = ()) -> dict[str, Any]:
    """The recipe's data; what it leaves out comes from the one that it `extends`."""
    if str(name) in below:
        raise RecipeError(f"the recipe {name} extends itself.")
    data = _read_file(name)
    base = data.pop("extends", None)
    if str(base).endswith(".toml"):
        base = Path(name).parent / base  # as a file names its neighbours, wherever it is read from
    return data if base is None else _merged(_read(base, (*below, str(name))), data)


def _merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    both = {k: base[k] for k in base.keys() & change.keys() if isinstance(base[k], dict)}
    return base | change | {k: _merged(part, change[k]) for k, part in both.items()}


def _read_file(name: str | Path) -> dict[str, Any]:
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise RecipeError(f"the recipe file {path} does not exist.")
        text = path.read_text(encoding="utf-8")
    elif str(name) in recipe_names():
        source = files("forametric.embedding") / "recipes" / f"{name}.toml"
        text = source.read_text(encoding="utf-8")
    else:
        raise RecipeError(
            f"no recipe {str(name)!r}; there are {', '.join(recipe_names())}, or name a .toml file."
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {name} is not valid TOML: {error}.") from None


def _set(data: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    if not equals:
        raise RecipeError(f"the setting {setting!r} should read key=value, as in epochs=10.")
    *parents, last = key.strip().split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise RecipeError(f"the setting {setting!r} goes below {parent}, which is one value.")
    try:
        data[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        data[last] = value
