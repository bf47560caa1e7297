"""The command `fastnorm`, also as `python -m fastnorm`."""

import sys


def main() -> None:
    """Run the command line on the arguments of this process, and exit with its status."""
    try:
        from fastnorm.cli import app
    except KeyboardInterrupt:
        sys.exit(130)
    except ModuleNotFoundError as error:
        if error.name != "typer":
            raise
        cure = "python -m pip install 'fastnorm-numba[cli]'"
        sys.exit(f"error: the command line is built with typer; install it with: {cure}")
    app(prog_name="fastnorm")


if __name__ == "__main__":
    main()
