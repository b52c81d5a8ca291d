"""``python -m opencv_squeezedet``: the command ``squeezedet``, for ``torchrun`` and where no scripts are installed."""

import sys

from opencv_squeezedet.cli import main

if __name__ == "__main__":
    sys.exit(main())
