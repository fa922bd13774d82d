"""`python -m cli`, as `torchrun -m cli` wants it: the command `galtrans`."""

from cli.main import main

if __name__ == "__main__":
    main()
