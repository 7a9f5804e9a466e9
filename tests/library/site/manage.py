"""Django's command line."""

from stagetools.manage import main

if __name__ == "__main__":
    main()
