"""The electronic-structure method of a set of labels: chosen once, validated once, recorded.

A `Method` holds everything that a label depends on besides the frame. Its settings enter the
content hash of every frame; the program versions are recorded beside them.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from datagen.errors import MethodError
from datagen.labels.charges import SCHEMES
from eqmm_ase.data.checks import check_number
from eqmm_ase.settings_help import with_help

_PROGRAMS = ("pyscf", "pyscf-dispersion")
_PROBE_ELEMENTS = ("H", "C", "O", "He", "Fe", "I", "Au", "U")
_MAX_GRID_LEVEL = 9

_ADDED_LATER = ("charges", "vacuum_energy")
"""Fields that older methods do not have. At their default they stay out of the settings, so that
the content hashes of frames, and with them the campaigns of older versions, stay valid."""


@with_help
@dataclass(frozen=True)
class Method:
    """Level of theory and SCF settings of the labels; hashable, comparable, plain values only.

    Singlets: RKS/RHF; higher multiplicities: UKS/UHF. Raises `MethodError` (a ValueError) at once
    when PySCF has no such functional, basis set or dispersion correction.
    """

    functional: str = "b3lyp"
    """Density functional as PySCF spells it (`b3lyp`, `pbe0`, `wb97x-d3bj` …), or `hf` for
    Hartree–Fock."""

    basis: str = "6-31g*"
    """Basis set; the effective core potentials that belong to it are used with it."""

    dispersion: str | None = None
    """Dispersion correction: `d3bj`, `d3zero`, `d3bjm`, `d3zerom`, `d3op`, `d4`, with `2b`/`atm`
    suffixes; None: none."""

    density_fit: bool = True
    """Fit the Coulomb and exchange integrals, with PySCF's default auxiliary set."""

    grid_level: int = 3
    """Level of the integration grid, 0 to 9 (ignored for `hf`)."""

    conv_tol: float = 1e-10
    """Energy threshold: the largest change in the last SCF cycle, Hartree."""

    conv_tol_grad: float = 1e-5
    """Gradient threshold: the largest norm over the orbitals at the end, Hartree. It bounds how far
    forces depend on the density that the SCF started from (6e-6 eV/Å at the default)."""

    max_cycle: int = 60
    """Largest number of SCF cycles at each fallback stage."""

    charges: tuple[str, ...] = ("mulliken", "lowdin")
    """Charge schemes of the labels: `mulliken`, `lowdin`, `mbis`, `hirshfeld`, `iao`, `chelpg`,
    `resp`; in any order."""

    vacuum_energy: bool = False
    """Also compute the energy of the same geometry without the MM charges."""

    def __post_init__(self) -> None:
        for name, value in _in_one_spelling(self).items():  # equal methods must be equal
            object.__setattr__(self, name, value)
        _check_numbers(self)
        _check_with_pyscf(self.functional, self.basis, self.dispersion)

    @property
    def is_dft(self) -> bool:
        """Whether a functional is used at all."""
        return self.functional != "hf"

    def settings(self) -> dict[str, Any]:
        """Everything that the labels depend on, as plain JSON values."""
        settings = {**asdict(self), "charges": list(self.charges)}
        default = {field.name: getattr(type(self), field.name) for field in fields(self)}
        for name in _ADDED_LATER:
            if getattr(self, name) == default[name]:
                del settings[name]
        return settings

    def as_dict(self) -> dict[str, Any]:
        """The settings with program and versions: the `method` attribute of a dataset file."""
        return {**self.settings(), "program": "pyscf", "versions": program_versions()}


def program_versions() -> dict[str, str]:
    """Versions of the programs that make the labels, by name."""
    found = {}
    for name in _PROGRAMS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _in_one_spelling(method: Method) -> dict[str, Any]:
    """Names as content hashes know them: PySCF does not mind capitals, hashes do."""
    return {
        "functional": method.functional.strip().lower(),
        "basis": method.basis.strip().lower(),
        "dispersion": (method.dispersion or "").strip().lower() or None,
        "charges": _known_schemes(method.charges),
    }


def _known_schemes(names: Iterable[str]) -> tuple[str, ...]:
    """The schemes once each, in one order whatever order they were given in."""
    chosen = {name.strip().lower() for name in names}
    for name in sorted(chosen - set(SCHEMES)):
        hint = _did_you_mean(name, SCHEMES) or f"; known are {', '.join(SCHEMES)}"
        raise MethodError(f"there is no charge scheme {name!r}{hint}")
    return tuple(scheme for scheme in SCHEMES if scheme in chosen)


def _check_numbers(method: Method) -> None:
    check = partial(check_number, error=MethodError)
    check("grid_level", method.grid_level, least=0, most=_MAX_GRID_LEVEL)
    for name in ("conv_tol", "conv_tol_grad"):
        check(name, getattr(method, name), above=0.0)
        check(name, getattr(method, name), most=1.0)
    check("max_cycle", method.max_cycle, least=1)


@lru_cache
def _check_with_pyscf(functional: str, basis: str, dispersion: str | None) -> None:
    """Ask PySCF, once in a process, whether there is such a method."""
    _check_functional(functional)
    _check_basis(basis)
    _check_dispersion(functional, dispersion)


def _check_functional(functional: str) -> None:
    from pyscf.dft import libxc
    from pyscf.scf.dispersion import parse_dft

    if functional == "hf":
        return
    if not functional:
        raise MethodError("functional is empty; expected a name such as 'b3lyp', or 'hf'")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # PySCF's advice on wb97x-d4
            libxc.parse_xc(parse_dft(functional)[0])
    except NotImplementedError as error:
        raise MethodError(
            f"PySCF refuses the functional {functional!r}{_did_you_mean_with_d3bj(functional)}"
        ) from error
    except (KeyError, ValueError, IndexError) as error:
        known = [*libxc.XC_ALIAS, *libxc.XC_CODES]
        raise MethodError(
            f"PySCF knows no functional {functional!r}{_did_you_mean(functional, known)}"
        ) from error


def _check_basis(basis: str) -> None:
    from pyscf import gto

    if not any(_has_element(basis, symbol) for symbol in _PROBE_ELEMENTS):
        hint = _did_you_mean(basis, gto.basis.ALIAS)
        raise MethodError(f"PySCF knows no basis set {basis!r}{hint}")


def _has_element(basis: str, symbol: str) -> bool:
    from pyscf import gto

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # advice to install basis-set-exchange
            return bool(gto.basis.load(basis, symbol))
    except (RuntimeError, KeyError, ValueError):
        return False


def _check_dispersion(functional: str, dispersion: str | None) -> None:
    from pyscf.scf import dispersion as pyscf_dispersion

    if dispersion is not None:
        named_by_functional = pyscf_dispersion.parse_disp(functional)[1]
        if named_by_functional:
            raise MethodError(
                f"the functional {functional!r} brings {named_by_functional} with it: "
                f"leave out dispersion={dispersion!r}"
            )
    try:
        parsed = _parsed_dispersion(functional, dispersion)
    except ValueError as error:
        known = pyscf_dispersion.DISP_VERSIONS
        raise MethodError(
            f"PySCF knows no dispersion correction {dispersion!r}; choose one of {', '.join(known)}"
        ) from error
    if parsed is not None:
        _probe_dispersion(functional, *parsed)


def _parsed_dispersion(functional: str, dispersion: str | None) -> tuple[str, str, bool] | None:
    """(parameter set, version, three-body) as PySCF reads it, or None."""
    from pyscf.scf import dispersion as pyscf_dispersion

    name, kind, three_body = pyscf_dispersion.parse_disp(functional, dispersion)
    if kind is None:
        return None
    if kind not in pyscf_dispersion.DISP_VERSIONS:
        raise ValueError(kind)
    return name, kind, three_body


def _probe_dispersion(functional: str, name: str, kind: str, three_body: bool) -> None:
    """Look the damping parameters up now rather than in every frame."""
    from pyscf import gto

    try:
        from pyscf.dispersion import dftd3, dftd4
    except ImportError as error:
        raise MethodError(
            f"dispersion {kind!r} needs the package pyscf-dispersion: pip install pyscf-dispersion"
        ) from error
    helium = gto.M(atom="He", basis="sto-3g", verbose=0)
    try:
        if kind.startswith("d4"):
            dftd4.DFTD4Dispersion(helium, xc=name, atm=three_body)
        else:
            dftd3.DFTD3Dispersion(helium, xc=name, version=kind, atm=three_body)
    except (RuntimeError, KeyError) as error:
        raise MethodError(
            f"there are no {kind} parameters for the functional {functional!r}"
        ) from error


def _did_you_mean_with_d3bj(functional: str) -> str:
    """`wb97x-d` → `wb97x-d3bj`: the variant of the same family that PySCF can run."""
    family = functional.replace("_", "-").split("-d")[0]
    suggestion = f"{family}-d3bj"
    try:
        _check_functional(suggestion)
    except MethodError:
        return ""
    return f"; use {suggestion!r} instead"


def _did_you_mean(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word.upper(), [k.upper() for k in known], n=1, cutoff=0.6)
    return f"; did you mean {near[0].lower()!r}?" if near else ""
