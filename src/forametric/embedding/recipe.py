"""Recipes: all settings of training, in one TOML file each."""

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
Area = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Network(_Part):
    """The architecture: backbone, then neck, then embedding and class head.

    Attributes
    ----------
    backbone : str
        Its name in timm.
    fallback : str, optional
        The backbone to use if the pretrained weights of `backbone` are not available; a warning
        and the model card report it.
    freeze : float
        Share of the backbone's layers, counted from the input, that keep their initial weights.
    pretrained : bool
        Start from ImageNet weights.
    image_size : int
        Side of the square input in pixels.
    neck : str
        `none` (the backbone's features are the embedding), `batchnorm` (BatchNorm and dropout) or
        `hidden` (linear to `hidden_units`, then ReLU, as Karaderi et al. 2022).
    hidden_units : int
        Width of the neck `hidden`.
    projection_dim : int
        Width of the projection that the metric loss trains; 0 for none.
    whitened_dim : int
        The number of whitened principal components of the neck's features that are appended to
        the projection after training; 0 for none.
    normalize : bool
        L2-normalize the vectors.
    dropout : float
        Dropout rate of the neck `batchnorm` or `hidden`.
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
    """The loss: cross-entropy plus a metric loss.

    Attributes
    ----------
    cross_entropy, metric_weight : float
        Weights of the two terms; a term of weight 0 is not computed.
    label_smoothing : float
        Of the cross-entropy.
    metric : str
        The metric loss; `reciprocal` is the reciprocal triplet loss of Karaderi et al. 2022.
    temperature : float
        Of `supcon`.
    margin : float
        Of `triplet`. The other losses have the settings of their papers.
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

    Attributes
    ----------
    kind : str
        `balanced`: `specimens` specimens of each of `species` species, which are drawn with a
        probability proportional to (number of specimens) ** `power`. `triplets`: every specimen
        once as an anchor with a positive and a negative (of a species drawn uniformly), `species`
        anchors in each batch.
        `shuffle`: every specimen once, `species` × `specimens` in each batch.
    species, specimens : int
    power : float
    """

    kind: Literal["balanced", "triplets", "shuffle"] = "balanced"
    species: Count = 8
    specimens: Count = 4
    power: Annotated[float, Field(ge=0, le=1)] = 0.5


class Microscope(_Part):
    """Changes of training images as by another microscope, camera or file format.

    Attributes
    ----------
    share : float
        The share of the images to which each of these changes is made, at random strengths.
    debris : float
        Greatest radius of a covered ellipse, as a share of half the image's side.
    background : float
        Greatest change of the background's brightness, as a share of white.
    shading : float
        Greatest relative change of the light across the image.
    blur : float
        Greatest standard deviation of a Gaussian, in pixels of an image 128 pixels wide.
    resolution : float
        The fewest pixels in the side of an image, as a share of those that it has.
    cast : float
        Greatest relative change of one color, as by another white balance.
    gray : float
        The share of the changed images that lose their color.
    gamma : float
        Greatest exponent of brightness, and least: 1 / gamma.
    noise : float
        Greatest standard deviation of noise, in gray levels of 255.
    jpeg : int
        Lowest JPEG quality; 100 for no losses.
    """

    share: Annotated[float, Field(ge=0, le=1)] = 0.0
    debris: Annotated[float, Field(ge=0, le=1)] = 0.15
    background: Annotated[float, Field(ge=0, le=1)] = 0.1
    shading: Annotated[float, Field(ge=0, lt=1)] = 0.3
    blur: Annotated[float, Field(ge=0, le=10)] = 2.0
    resolution: Annotated[float, Field(gt=0, le=1)] = 0.35
    cast: Annotated[float, Field(ge=0, le=1)] = 0.12
    gray: Annotated[float, Field(ge=0, le=1)] = 0.3
    gamma: Annotated[float, Field(ge=1, le=10)] = 1.7
    noise: Annotated[float, Field(ge=0, le=255)] = 12.0
    jpeg: Annotated[int, Field(ge=1, le=100)] = 20


class Augment(_Part):
    """Random changes of the training images; ranges are (low, high).

    Attributes
    ----------
    rotation : float
        Greatest angle in degrees, in both directions.
    mirror : bool or "auto"
        Reflect half of the images; "auto" for all but those of taxa that differ from others by the
        direction of coiling (`Taxonomy.coiling`).
    crop : tuple of float
        Range of the area of a window at a random place, as a share of the image, that is enlarged
        to the whole (random resized crop).
    scale, contrast : tuple of float
        Ranges of factors; 1 leaves the image unchanged.
    brightness : float
        Greatest change in both directions, as a share of white.
    blur : tuple of float
        Range of the standard deviation of a Gaussian, in pixels.
    microscope : Microscope
        Changes as by another microscope.
    """

    rotation: Annotated[float, Field(ge=0, le=180)] = 180.0
    mirror: bool | Literal["auto"] = "auto"
    crop: tuple[Area, Area] = (1.0, 1.0)
    scale: tuple[Positive, Positive] = (1.0, 1.0)
    contrast: tuple[Positive, Positive] = (1.0, 1.0)
    brightness: Annotated[float, Field(ge=0, le=1)] = 0.0
    blur: tuple[float, float] = (0.0, 0.0)
    microscope: Microscope = Microscope()


class Optimiser(_Part):
    """Optimizer and learning rates.

    Attributes
    ----------
    kind : str
    backbone_lr, head_lr : float
        Peak learning rates of the backbone and of all other layers.
    weight_decay : float
    momentum : float
        Of `sgd`.
    schedule : str
        `constant`: the peak rates at all steps. `warmup`: the rates rise linearly to their peaks
        over the first steps, then stay. `onecycle`: they rise in the same way, then fall to zero
        along a cosine.
    warmup : float
        Share of the steps in which the rates rise.
    max_grad_norm : float
        Gradients are clipped to this norm; 0 for no clipping.
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
    """All settings of training; `forametric recipes` lists the built-in ones.

    Attributes
    ----------
    name, about : str
        Name and short description.
    epochs : int
    ema_decay : float
        Decay of the exponential moving average of the weights. The model gets the averaged ones.
    tta_views : int
        The number of views over which embeddings are averaged (test-time augmentation): 4
        rotations, 8 with their reflections.
    network : Network
    loss : Loss
    sampler : Sampler
    augment : Augment
    optimiser : Optimiser
    """

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

    @property
    def has_class_head(self) -> bool:
        """Whether training makes a classifier: a head that no loss trains knows nothing."""
        return self.network.neck != "none" and self.loss.cross_entropy > 0 and self.epochs > 0

    @classmethod
    def load(cls, name: str | Path, settings: Sequence[str] = ()) -> Recipe:
        """Read a built-in recipe by name or a TOML file by path, and apply `key=value` settings.

        Raises
        ------
        RecipeError
            For an unknown name, key or value.

        >>> Recipe.load("default", ["epochs=3", "network.image_size=96"]).network.image_size
        96
        """
        return cls._build(_read(name), name, settings)

    def with_settings(self, settings: Sequence[str]) -> Recipe:
        """This recipe with `key=value` settings applied; errors as in `load`."""
        return self._build(self.model_dump(mode="json"), self.name, settings)

    @classmethod
    def _build(cls, data: dict[str, Any], name: str | Path, settings: Sequence[str]) -> Recipe:
        for setting in settings:
            _set(data, setting)
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise RecipeError(f"recipe {name}: {where}: {first['msg']}.") from None


def recipe_table() -> pd.DataFrame:
    """The built-in recipes: recipe, backbone, px (image size), epochs, what it does."""
    recipes = [Recipe.load(name) for name in recipe_names()]
    rows = [(r.name, r.network.backbone, r.network.image_size, r.epochs, r.about) for r in recipes]
    return pd.DataFrame(rows, columns=["recipe", "backbone", "px", "epochs", "what it does"])


def recipe_names() -> list[str]:
    """The names of the built-in recipes."""
    folder = files("forametric.embedding") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith("toml"))


def _read(name: str | Path, children: tuple[str, ...] = ()) -> dict[str, Any]:
    """The recipe's data; missing keys come from the recipe that it `extends`."""
    if str(name) in children:
        raise RecipeError(f"the recipe {name} extends itself.")
    data = _read_file(name)
    base = data.pop("extends", None)
    if base is None:
        return data
    if not isinstance(base, str):
        raise RecipeError(f"recipe {name}: extends must be the name of a recipe.")
    # A file is relative to the recipe that names it.
    parent = Path(name).parent / base if base.endswith(".toml") else base
    return _merged(_read(parent, (*children, str(name))), data)


def _merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    both = {k: base[k] for k in base.keys() & change.keys() if isinstance(base[k], dict)}
    return base | change | {k: _merged(part, change[k]) for k, part in both.items()}


def _read_file(name: str | Path) -> dict[str, Any]:
    path = Path(name)
    if path.suffix == ".toml":
        if not path.is_file():
            raise RecipeError(f"the recipe file {path} does not exist.")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise RecipeError(
                f"recipe {name} is not UTF-8 text (byte {error.start}); save it as UTF-8."
            ) from None
    elif str(name) in recipe_names():
        source = files("forametric.embedding") / "recipes" / f"{name}.toml"
        text = source.read_text(encoding="utf-8")
    else:
        raise RecipeError(
            f"no recipe {str(name)!r}; the built-in ones are {', '.join(recipe_names())}. "
            f"Name one of them or a .toml file."
        )
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {name} is not valid TOML: {error}.") from None
    except RecursionError:
        raise RecipeError(f"recipe {name} is nested too deep.") from None


def _set(data: dict[str, Any], setting: str) -> None:
    key, equals, value = setting.partition("=")
    if not equals:
        raise RecipeError(f"the setting {setting!r} must have the form key=value, as in epochs=10.")
    *parents, last = key.strip().split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise RecipeError(f"the setting {setting!r} is invalid: {parent} has no settings.")
    try:
        data[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        data[last] = value
