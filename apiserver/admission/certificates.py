"""The three plugins of certificate requests, which are part of their registry here: only names.

Source: upstream plugin/pkg/admission/certificates; see registry/certificates.py.
"""

from __future__ import annotations

from podwire.apiserver.admission.chain import Plugin

APPROVAL = Plugin("CertificateApproval", kinds=(), fixed=True)
SIGNING = Plugin("CertificateSigning", kinds=(), fixed=True)
SUBJECT_RESTRICTION = Plugin("CertificateSubjectRestriction", kinds=(), fixed=True)
