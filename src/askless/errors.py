"""The errors a user can meet, each saying what was got, what is allowed and what to do.

AsklessError
├── ConfigError    a key or a value in params.yaml
├── DataError      a file, a column or a row that breaks the data contract
├── BudgetError    a budget that cannot be meant or cannot be met
├── ExpertError    an expert that cannot be built or cannot answer
└── MissingExtra   an optional dependency that is not installed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module

# Which extra brings a package that is imported only where it is needed.
EXTRAS = {
    "accelerate": "gguf",
    "gguf": "gguf",
    "mlflow": "registry",
    "peft": "lora",
    "prometheus_client": "serve",
    "torch": "realmodels",
    "transformers": "realmodels",
    "uvicorn": "serve",
}


class AsklessError(Exception):
    """Base of every error that is the input's fault and not a bug."""


class ConfigError(AsklessError):
    """A key or a value in the parameters is not allowed."""

    @classmethod
    def unknown(cls, what: str, got: str, allowed: Iterable[str]) -> ConfigError:
        """An unknown name: lists the known ones and the nearest.

        >>> print(ConfigError.unknown("policy", "tema", ["team", "random"]))
        Unknown policy 'tema'. Known: random, team. Did you mean 'team'?
        """
        names = sorted(map(str, allowed))
        near = difflib.get_close_matches(str(got), names, n=1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        return cls(f"Unknown {what} '{got}'. Known: {', '.join(names) or 'none'}.{hint}")


class DataError(AsklessError):
    """A table breaks the data contract.

    Parameters
    ----------
    where
        The file, table or column.
    got
        What is wrong with it.
    allowed
        What would be right.
    remedy
        What to do, a sentence.
    """

    def __init__(self, where: object, got: str, allowed: str, remedy: str) -> None:
        self.where, self.got, self.allowed, self.remedy = str(where), got, allowed, remedy
        super().__init__(f"{where}: {got}. Allowed: {allowed}. {remedy}")

    def __reduce__(self) -> tuple[type[DataError], tuple[str, str, str, str]]:
        # Errors come back from other processes, and an exception's own way there knows one argument, the message.
        return type(self), (self.where, self.got, self.allowed, self.remedy)


class BudgetError(AsklessError):
    """A budget that cannot be meant or cannot be met."""

    @classmethod
    def too_little(cls, got: float, least: float) -> BudgetError:
        """A cost of 1,000 items below the `least` that can be had."""
        return cls(f"A budget of {got:g} per 1,000 items is under the least cost, {least:g}. Allowed: at least that.")


class ExpertError(AsklessError):
    """An expert cannot be built or cannot answer."""


class MissingExtra(AsklessError):
    """An optional dependency is not installed.

    Parameters
    ----------
    package
        What could not be imported.
    extra
        The extra of askless that brings it: `pip install 'askless[extra]'`.
    """

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(f"'{package}' is not installed. Run: pip install 'askless[{extra}]'")

    def __reduce__(self) -> tuple[type[MissingExtra], tuple[str, str]]:
        return type(self), (self.package, self.extra)


def require(*packages: str) -> None:
    """Raise `MissingExtra` where one of these, keys of `EXTRAS`, is not installed."""
    for package in packages:
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise MissingExtra(package, EXTRAS[package]) from error
