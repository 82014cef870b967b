"""Follows a TUF repository with python-tuf, unmodified, and fetches one target.

follow.py ROOT METADATA-URL TARGET-URL TARGET METADATA-FOLDER TARGET-FOLDER
"""

import pathlib
import sys

from tuf.ngclient import Updater


def main() -> None:
    root, metadata_url, target_url, target, metadata_folder, target_folder = sys.argv[1:]
    updater = Updater(
        metadata_dir=metadata_folder,
        metadata_base_url=metadata_url,
        target_dir=target_folder,
        target_base_url=target_url,
        bootstrap=pathlib.Path(root).read_bytes(),
    )
    updater.refresh()
    info = updater.get_targetinfo(target)
    if info is None:
        sys.exit(f"no target {target}")
    print(updater.download_target(info))


if __name__ == "__main__":
    main()
