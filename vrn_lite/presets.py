"""The sizes of grid, network and training that go together, by name; every checkpoint stores its own."""

from dataclasses import asdict, dataclass

from vrn_lite.frame import Grid, require


@dataclass(frozen=True)
class NetworkSize:
    """Shape of a volumetric regression network (paper section 3.3).

    Attributes
    ----------
    stem : reduction of the image before the hourglass, 2 or 4.
    levels : halvings inside an hourglass.
    features : channels of the hourglass.
    modules : residual modules m per position.
    stacks : hourglasses in a row.
    stem_features : channels of the first convolution; doubled after it.
    guided_modules : m of VRN-Guided, where it is another (the paper's has 4).
    refine : residual modules of a finer last stage, at half the image's size and half the width, behind a stem that
        reduces by 4 (see `hourglass.Refine`); None for none, as in the paper.
    """

    stem: int = 4
    levels: int = 4
    features: int = 128
    modules: int = 8
    stacks: int = 1
    stem_features: int = 64
    guided_modules: int | None = None
    refine: int | None = None

    def __post_init__(self) -> None:
        require(self.stem in (2, 4), f"stem must reduce by 2 or 4, got {self.stem}")
        require(self.features % 8 == 0, f"features (={self.features}) must be divisible by 8")
        require(min(self.levels, self.modules, self.stacks) >= 1, "levels, modules and stacks must be at least 1")
        refines = self.refine is None or (self.refine >= 1 and self.stem == 4)
        require(
            refines, f"refine (={self.refine}) must be at least 1, behind a stem of 4 (this is {self.stem}); or None"
        )

    @property
    def cell(self) -> int:
        """Pixels of the image, along each side, for one cell of the network's own output."""
        return self.stem if self.refine is None else self.stem // 2


@dataclass(frozen=True)
class Preset:
    """A grid and a network that fit each other, with the batch they are trained with."""

    name: str
    grid: Grid
    network: NetworkSize
    batch: int = 16

    def __post_init__(self) -> None:
        step = self.network.stem * 2**self.network.levels
        for side in (self.grid.height, self.grid.width):
            fits = side % step == 0 and side // step >= 2
            require(fits, f"image side {side} must be a multiple of stem x 2^levels = {step}, at least twice")

    def to_dict(self) -> dict:
        """Plain numbers for a checkpoint, without what is not set; `Preset.from_dict` is the inverse."""
        return asdict(self, dict_factory=lambda items: {name: value for name, value in items if value is not None})

    @staticmethod
    def from_dict(values: dict) -> "Preset":
        """The preset that a checkpoint stores."""
        return Preset(values["name"], Grid(**values["grid"]), NetworkSize(**values["network"]), values["batch"])


PRESETS = {
    name: Preset(name, grid, NetworkSize(*size))  # stem, levels, features, modules, stacks, stem_features, and more
    for name, grid, size in (
        ("tiny", Grid(32, 32, 32), (2, 3, 16, 1, 1, 8)),
        ("lite", Grid(64, 64, 64), (2, 4, 64, 1, 2, 16)),
        ("colab", Grid(128, 128, 128), (4, 4, 128, 2, 1, 32)),
        ("sharp", Grid(128, 128, 128), (4, 4, 128, 2, 1, 32, None, 1)),
        ("paper", Grid(200, 192, 192), (4, 4, 128, 8, 1, 64)),
        ("paper_full", Grid(200, 192, 192), (4, 4, 256, 3, 2, 64, 4)),
    )
}


def preset(name: "str | Preset") -> Preset:
    """The preset of that name (a `Preset` passes through).

    Raises
    ------
    InputError : no such preset.
    """
    if isinstance(name, Preset):
        return name
    require(name in PRESETS, f"unknown preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
