"""The one room that touches paths: local files and `s3://` objects.

Files and folders whose name starts with `_` or `.` are ours and never listed as data.
"""

from dolma_pipe.storage.claims import Claims
from dolma_pipe.storage.files import (
    CHUNK,
    Stat,
    cache_folder,
    content_hash,
    exists,
    is_file,
    is_remote,
    join,
    listing,
    local_path,
    make_folder,
    open_read,
    parent,
    read_bytes,
    read_if_there,
    remove,
    remove_tree,
    size,
    stat,
)
from dolma_pipe.storage.publication import (
    ASIDE,
    Publication,
    Writer,
    clear_aside,
    create,
    has_unfinished,
    write_bytes,
)

__all__ = [
    "ASIDE",
    "CHUNK",
    "Claims",
    "Publication",
    "Stat",
    "Writer",
    "cache_folder",
    "clear_aside",
    "content_hash",
    "create",
    "exists",
    "has_unfinished",
    "is_file",
    "is_remote",
    "join",
    "listing",
    "local_path",
    "make_folder",
    "open_read",
    "parent",
    "read_bytes",
    "read_if_there",
    "remove",
    "remove_tree",
    "size",
    "stat",
    "write_bytes",
]
