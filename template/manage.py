#!/usr/bin/env python3
"""Django's command line, for this installation."""

from stagetools.manage import main

if __name__ == "__main__":
    main()
