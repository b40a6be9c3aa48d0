"""Split a dataset by trajectory; the same as `eqmm-datagen split`.

python scripts/split_dataset.py labels.h5 --hold-out water-6    # writes train.h5 and test.h5
"""

from __future__ import annotations

import sys

from datagen.cli import main

if __name__ == "__main__":
    main(["split", *sys.argv[1:]])
