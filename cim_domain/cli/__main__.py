"""``python -m cim_domain.cli``"""

from cim_domain.cli import main

if __name__ == "__main__":
    main()
