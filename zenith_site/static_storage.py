"""Static files with a hash in their names, so that browsers can cache them for ever."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticStorage(CompressedManifestStaticFilesStorage):
    """whitenoise's storage, which also rewrites the imports of our modules, because no file is kept under its plain name.

    Django can do that for every script (`support_js_module_import_aggregation`), but some packages' scripts import files that are
    missing.
    """

    patterns = (
        *CompressedManifestStaticFilesStorage.patterns,
        ("js/*.js", ((r"""(?P<matched>\bfrom\s*["'](?P<url>\.[^"']+)["'])""", 'from "%(url)s"'),)),
    )
