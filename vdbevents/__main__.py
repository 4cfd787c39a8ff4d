"""`python -m vdbevents` and the `vdbevents` command."""


def main() -> None:
    from vdbevents.cli.app import run

    run()


if __name__ == "__main__":
    main()
