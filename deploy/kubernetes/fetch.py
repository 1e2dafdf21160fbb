"""Copy the files of a folder of a bucket, with credentials of the environment: URL FOLDER."""

import sys
from pathlib import Path

import obstore
from obstore.store import from_url

url, folder = sys.argv[1:]
store = from_url(url)
names = [each["path"] for page in obstore.list(store) for each in page]
if not names:
    sys.exit(f"study.url: expected files, found none in {url}")
for name in names:
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for part in obstore.get(store, name):
            file.write(part)
