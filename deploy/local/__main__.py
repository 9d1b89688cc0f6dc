"""`python -m deploy.local`: the `maestro` command."""

from deploy.local.command import main

if __name__ == "__main__":
    main()
