"""``python -m podwire``: the podwire command."""

from podwire.cli.main import main

if __name__ == "__main__":
    main()
