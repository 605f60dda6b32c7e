"""The growth forms, one modelled on each of the 35 species of the Endless Forams library.

They are named after their form, because a simulated shell is not a specimen of the species. The
parameters were set by eye to give the outline, number of chambers and wall that are typical of the
species. The diameters are rounded from those of adults in atlases. Neogloboquadrina pachyderma
coils to the left and N. incompta to the right, with 3 % of exceptions each (Darling et al. 2006,
Paleoceanography 21, PA2011).
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Form:
    """A growth form; lengths are relative to the radius of the chamber they belong to.

    Attributes
    ----------
    after : str
        The species on which the form is modelled.
    um : float
        Typical diameter of an adult in µm.
    chambers : int
        The number of chambers; the last is the largest.
    growth : float
        Ratio of a chamber's radius to that of the previous one.
    rotation : float
        Degrees about the coiling axis from one chamber to the next.
    spread : float
        Distance of a chamber's center from the axis.
    spire : float
        Distance of a chamber below the apex.
    flattening : float
        Axial over tangential half-axis.
    elongation : float
        Radial over tangential half-axis of the last `long_chambers`.
    long_chambers : int
        The number of elongated chambers; 0 for all.
    keel : float
        Width of a thin rim around the periphery.
    cone : float
        How strongly chambers that are cut flat on the spiral side lean towards the umbilicus;
        0 for chambers that are not cut.
    roughness, pores : float
        Of the wall.
    aperture : float
        Radius of the opening at the base of the last chamber.
    slit : float
        Width of the aperture as a multiple of its radius.
    lip : float
        Strength of the rim of the aperture.
    arches : int
        The number of further openings along the sutures of the spiral side.
    cover : float
        Radius of a bulla over the umbilicus.
    gloss : float
        Of a thick, smooth wall.
    glassy : float
        Translucency of a thin wall.
    pink : float
        Share of pink shells.
    side : float
        Share of side views.
    dextral : float
        Share of shells that coil to the right; for most species it changes with place and time.
    """

    after: str
    um: float
    chambers: int
    growth: float
    rotation: float
    spread: float
    spire: float
    flattening: float = 1.0
    elongation: float = 1.0
    long_chambers: int = 0
    keel: float = 0.0
    cone: float = 0.0
    roughness: float = 0.3
    pores: float = 0.3
    aperture: float = 0.45
    slit: float = 1.0
    lip: float = 0.4
    arches: int = 0
    cover: float = 0.0
    gloss: float = 0.1
    glassy: float = 0.0
    pink: float = 0.0
    side: float = 0.22
    dextral: float = 0.5


# In the order of the library's numbers.
FORMS: dict[str, Form] = {
    "digitate last chambers": Form(
        "Beella digitata", 450, 12, 1.13, 70, 1.25, 0.15, 0.85, 2.1, 2, aperture=0.4
    ),
    "smooth three-chambered with sutural pores": Form(
        "Candeina nitida", 380, 12, 1.2, 118, 0.95, 0.75, 1.0,
        roughness=0.04, pores=0.05, aperture=0.0, arches=9, gloss=0.2, side=0.4,
    ),
    "globular trochospiral": Form(
        "Globigerina bulloides", 350, 11, 1.2, 89, 1.08, 0.45, aperture=0.75, pores=0.5
    ),
    "globular with a lip": Form(
        "Globigerina falconensis", 280, 13, 1.12, 84, 0.98, 0.38,
        aperture=0.5, lip=1.6, pores=0.4, roughness=0.25,
    ),
    "clavate radial": Form(
        "Globigerinella adamsi", 500, 14, 1.12, 74, 1.25, 0.08, 0.8, 1.6, 4, aperture=0.35
    ),
    "radially elongate evolute": Form(
        "Globigerinella calida", 380, 13, 1.17, 80, 1.4, 0.24, 0.95, 1.28, 3, aperture=0.6
    ),
    "lobate planispiral": Form(
        "Globigerinella siphonifera", 500, 14, 1.17, 66, 1.4, 0.0, 1.1, aperture=0.6, pores=0.5
    ),
    "bulla-covered": Form(
        "Globigerinita glutinata", 240, 10, 1.14, 90, 1.0, 0.3,
        roughness=0.15, pores=0.1, aperture=0.0, cover=0.7,
    ),
    "high spired": Form(
        "Globigerinita uvula", 170, 17, 1.13, 103, 0.8, 1.65, 0.95,
        aperture=0.5, roughness=0.2, side=0.6,
    ),
    "massive with arches": Form(
        "Globigerinoides conglobatus", 620, 12, 1.09, 104, 0.72, 0.42, 0.84,
        roughness=0.75, pores=0.55, aperture=0.5, slit=1.5, arches=3,
    ),
    "compressed high-spired with arches": Form(
        "Globigerinoides elongatus", 380, 13, 1.12, 124, 0.78, 0.85, 0.78,
        roughness=0.45, pores=0.7, aperture=0.5, arches=2, side=0.35,
    ),
    "three-chambered with arches": Form(
        "Globigerinoides ruber", 350, 11, 1.19, 121, 0.93, 0.5,
        roughness=0.35, pores=0.75, aperture=0.6, arches=2, pink=0.18,
    ),
    "sac-like last chamber": Form(
        "Globigerinoides sacculifer", 480, 11, 1.2, 98, 1.05, 0.3, 0.92, 1.75, 1,
        roughness=0.4, pores=0.85, aperture=0.55, arches=2,
    ),
    "massive four-chambered": Form(
        "Globoquadrina conglomerata", 560, 10, 1.2, 96, 0.86, 0.3, 1.08,
        roughness=0.5, pores=0.7, aperture=0.55, lip=1.2,
    ),
    "flat-topped four-chambered": Form(
        "Globorotalia crassaformis", 430, 12, 1.13, 88, 0.92, 0.2, 1.45,
        cone=0.4, roughness=0.4, pores=0.25, aperture=0.35, side=0.35,
    ),
    "biconvex keeled": Form(
        "Globorotalia hirsuta", 520, 14, 1.14, 86, 1.08, 0.42, 0.62, 1.1,
        keel=0.05, roughness=0.3, pores=0.2, aperture=0.4,
    ),
    "inflated wide-mouthed": Form(
        "Globorotalia inflata", 400, 10, 1.19, 112, 0.78, 0.14, 1.05,
        roughness=0.12, pores=0.12, aperture=0.85, lip=0.3, gloss=0.14,
    ),
    "compressed keeled": Form(
        "Globorotalia menardii", 750, 17, 1.13, 59, 1.18, 0.16, 0.4, 1.02,
        keel=0.08, roughness=0.12, pores=0.2, aperture=0.4,
    ),
    "compressed smooth": Form(
        "Globorotalia scitula", 350, 13, 1.15, 84, 1.08, 0.14, 0.5, 1.05,
        roughness=0.05, pores=0.12, aperture=0.3, gloss=0.2,
    ),
    "conical keeled": Form(
        "Globorotalia truncatulinoides", 520, 18, 1.1, 63, 0.95, 0.22, 1.75, 1.05,
        keel=0.06, cone=0.55, aperture=0.3, side=0.45,
    ),
    "swollen keeled": Form(
        "Globorotalia tumida", 680, 16, 1.15, 66, 1.05, 0.32, 0.72, 1.12,
        keel=0.11, roughness=0.45, pores=0.3, aperture=0.4, gloss=0.16,
    ),
    "thin-walled keeled": Form(
        "Globorotalia ungulata", 420, 15, 1.17, 68, 1.12, 0.16, 1.0, 1.1,
        keel=0.05, cone=0.3, roughness=0.04, pores=0.1, aperture=0.4, glassy=0.5, side=0.3,
    ),
    "flat five-chambered": Form(
        "Globorotaloides hexagonus", 260, 14, 1.12, 71, 1.28, 0.14, 0.82,
        roughness=0.35, pores=0.9, aperture=0.35, lip=1.2,
    ),
    "small high four-chambered": Form(
        "Globoturborotalita rubescens", 200, 11, 1.17, 90, 0.98, 0.75, pores=0.6,
        aperture=0.55, pink=0.75,
    ),
    "small with one arch": Form(
        "Globoturborotalita tenella", 220, 12, 1.15, 88, 1.08, 0.5, pores=0.7,
        aperture=0.65, arches=1,
    ),
    "planispiral glassy": Form(
        "Hastigerina pelagica", 650, 12, 1.24, 73, 1.08, 0.0, 1.05,
        roughness=0.05, pores=0.1, aperture=0.85, lip=0.1, glassy=0.9,
    ),
    "low spired many-chambered": Form(
        "Neogloboquadrina dutertrei", 450, 19, 1.1, 59, 1.5, 0.3, 0.92,
        roughness=0.4, pores=0.6, aperture=0.5,
    ),
    "quadrate four-chambered": Form(
        "Neogloboquadrina incompta", 240, 11, 1.07, 91, 0.95, 0.25, 0.95,
        roughness=0.7, aperture=0.4, dextral=0.97,
    ),
    "compact encrusted": Form(
        "Neogloboquadrina pachyderma", 230, 12, 1.05, 85, 0.68, 0.3,
        roughness=1.0, pores=0.0, aperture=0.25, dextral=0.03,
    ),
    "single sphere": Form(
        "Orbulina universa", 550, 1, 1.0, 0, 0.0, 0.0, roughness=0.2, pores=0.9, aperture=0.0
    ),
    "smooth involute": Form(
        "Pulleniatina obliquiloculata", 520, 12, 1.2, 76, 0.62, 0.15, 0.95,
        roughness=0.04, pores=0.0, aperture=0.65, slit=1.4, gloss=0.3,
    ),
    "cleft glossy": Form(
        "Sphaeroidinella dehiscens", 650, 9, 1.16, 122, 0.66, 0.12, 0.85,
        roughness=0.16, pores=0.4, aperture=0.5, slit=2.6, lip=0.8, arches=1, gloss=0.3,
    ),
    "tiny with a bulla": Form(
        "Tenuitella iota", 130, 11, 1.14, 84, 1.05, 0.14, 0.62,
        roughness=0.08, pores=0.05, aperture=0.0, cover=0.45, glassy=0.4,
    ),
    "low many-chambered with a flap": Form(
        "Turborotalita humilis", 170, 16, 1.07, 57, 1.25, 0.12, 0.72, 1.3, 1,
        roughness=0.5, pores=0.3, aperture=0.0, cover=0.6,
    ),
    "small lobate with a flap": Form(
        "Turborotalita quinqueloba", 180, 13, 1.13, 73, 1.12, 0.2, 0.85, 1.35, 1,
        roughness=0.45, pores=0.2, aperture=0.25, lip=1.6,
    ),
}  # fmt: skip

# One form that coils to the left or to the right: nothing else tells its two names apart.
TWINS: dict[str, Form] = {
    f"compressed keeled {coiling}": replace(FORMS["compressed keeled"], dextral=share)
    for coiling, share in (("sinistral", 0.0), ("dextral", 1.0))
}
