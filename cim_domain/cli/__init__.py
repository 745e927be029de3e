"""The command line: ``cim-domain``."""

__all__ = ["main"]


def main() -> None:
    """Run it."""
    # Here, so that a program which imports a module of this package does not load them all.
    from cim_domain.cli.app import app  # noqa: PLC0415

    app()
