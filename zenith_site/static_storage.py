"""Static files under names that carry their hash, so that browsers may keep them for good."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticStorage(CompressedManifestStaticFilesStorage):
    """whitenoise's storage, which also rewrites what our modules import: under its plain name no file is kept.

    Django can do that for every script (`support_js_module_import_aggregation`), but packages bring some that import what they
    do not bring.
    """

    patterns = (
        *CompressedManifestStaticFilesStorage.patterns,
        ("js/*.js", ((r"""(?P<matched>\bfrom\s*["'](?P<url>\.[^"']+)["'])""", 'from "%(url)s"'),)),
    )
