"""`python -m multires_tf <verb> ...`."""

from multires_tf import cli

if __name__ == "__main__":
    cli.main()
