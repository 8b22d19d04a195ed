"""The datamodule layer: image sets that a model trains on and is measured against.

`images` is the shared base (sampler, evaluation bank, fingerprint); `embedded`, `public` and `folder` are where the
images come from; `reading` decodes one file; `check` looks a folder over before it is trained on.
"""
