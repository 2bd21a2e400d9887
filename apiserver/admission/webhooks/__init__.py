"""MutatingAdmissionWebhook and ValidatingAdmissionWebhook: others have their say.

- ``hooks``: configurations read once per version, and which hooks a write concerns
- ``reviews``: the AdmissionReview that is sent, and what may be answered
- ``dispatch``: calling them, one after the other or all at once, and what follows
- ``counted``: upstream's metrics

Where there is no configuration a write costs one look at an empty cache.
Source: apiserver pkg/admission/plugin/webhook.
"""
