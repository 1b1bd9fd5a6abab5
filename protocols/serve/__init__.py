"""Leader and helper of a plan with two aggregators as two servers, and the client that uploads.

Extra: `secagg[serve]`. docs/spec/serve.md has resources, media types, problems and the store.
"""

try:
    import httpx  # noqa: F401
    import starlette  # noqa: F401
    import uvicorn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "servers and uploads need Starlette, uvicorn and httpx: pip install 'secagg[serve]'"
    ) from error
