"""Order of the examples in the gallery."""

from sphinx_gallery.sorting import FileNameSortKey


class QuickStartFirst(FileNameSortKey):
    """The quick start, and then all others by their file names."""

    def __call__(self, filename):
        return filename != "quickstart.py", filename
